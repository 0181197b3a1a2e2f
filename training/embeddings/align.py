"""The old pieces that stand where a token stands in the text.

"Align" of Yamaguchi et al. 2024 (arXiv 2406.11477): the text is cut by both tokenizers,
and every old piece under an occurrence of a new token counts with the share of it that
the token covers. Places are compared in bytes, so that parts of characters fit too.
Where new tokens only join old pieces (continued BPE) this is the mean of the pieces; it
differs for a replaced vocabulary, whose tokens cut old pieces in two.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from tokenizers import Tokenizer

from training.embeddings.request import Mixture, Mixtures, Request, normalised
from training.embeddings.words import encoded, form_of, limited

MOST_CHARACTERS = 5_000_000  # averages of more text are no different


def weigh(request: Request) -> Mixtures:
    """Shares of old pieces, over all occurrences in the text."""
    old, new = request.pieces()
    old_bytes, new_bytes = _Bytes(old), _Bytes(new)
    wanted = request.new_ids
    counts: dict[int, Mixture] = defaultdict(lambda: defaultdict(float))
    lines = list(limited(request.target_texts(), MOST_CHARACTERS))
    for one, other in zip(encoded(old, lines), encoded(new, lines), strict=True):
        old_ends, new_ends = old_bytes.ends(one.ids), new_bytes.ends(other.ids)
        if old_ends is None or new_ends is None or old_ends[-1:] != new_ends[-1:]:
            continue  # an unknown character: places cannot be compared
        for token, piece, share in covered(new_ends, old_ends):
            if other.ids[token] in wanted:
                counts[other.ids[token]][one.ids[piece]] += share
    return Mixtures.both({id_: normalised(mix) for id_, mix in counts.items()})


def covered(
    tokens: Sequence[int], pieces: Sequence[int]
) -> list[tuple[int, int, float]]:
    """(token, piece, share of the piece under the token) wherever they overlap.

    Both are given by where they end; the first begins at 0.
    """
    found = []
    token = piece = start = 0
    while token < len(tokens) and piece < len(pieces):
        end = min(tokens[token], pieces[piece])
        begin = pieces[piece - 1] if piece else 0
        if end > start:
            found.append((token, piece, (end - start) / (pieces[piece] - begin)))
        start = end
        token += tokens[token] == end
        piece += pieces[piece] == end
    return found


class _Bytes:
    """How many bytes each piece of a tokenizer stands for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        form = form_of(tokenizer)
        self.lengths = {
            id_: len(form.as_bytes(piece))
            for piece, id_ in tokenizer.get_vocab().items()
        }
        model = json.loads(tokenizer.to_str())["model"]
        self.unknown = model.get("unk_id")
        if model.get("unk_token"):
            self.unknown = tokenizer.token_to_id(model["unk_token"])

    def ends(self, ids: Sequence[int]) -> list[int] | None:
        """Where each piece ends, in bytes; None where something is unknown."""
        if self.unknown is not None and self.unknown in ids:
            return None
        ends, at = [], 0
        for id_ in ids:
            at += self.lengths[id_]
            ends.append(at)
        return ends
