"""What a method makes of a tokenizer, and how ids are given anew."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tokenizers import Tokenizer

from training.errors import TokenizerMismatch
from training.vocabulary import counting
from training.vocabulary.extension import NewToken

Texts = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Change:
    """A tokenizer after a method, in its final ids.

    `tokens` need rows; their `base_ids` are ids of the tokenizer as it was before.
    `kept` is None where every old id stays what it is, else a map from new id to the old
    id whose row is carried over. `figures` go into the stage's.
    """

    backend: Tokenizer
    tokens: list[NewToken]
    kept: dict[int, int] | None = None
    marks: str = ""
    marks_cut: bool = False
    figures: dict[str, Any] = field(default_factory=dict)


def compact(ids: Iterable[int], fixed: Iterable[int]) -> dict[int, int]:
    """Old id -> new id without gaps, in the order given; `fixed` ids do not move.

    Ids in `fixed` need not be in `ids`; they are in the answer.
    """
    numbering = {id_: id_ for id_ in fixed}
    still = frozenset(numbering)
    following = 0
    for id_ in ids:
        if id_ in still:
            continue
        while following in still:
            following += 1
        numbering[id_] = following
        following += 1
    return numbering


def renumber(plain: dict[str, Any], numbering: Mapping[int, int]) -> Tokenizer:
    """The tokenizer of a tokenizer.json (BPE) with other ids, wherever ids stand.

    Added and special tokens are written into the vocabulary: the library gives new
    numbers to those that it does not find there. Raises TokenizerMismatch where a piece
    did not get its id.
    """
    vocabulary = dict(plain["model"]["vocab"])
    for added in plain["added_tokens"]:
        vocabulary.setdefault(added["content"], added["id"])
    vocabulary = {piece: numbering[id_] for piece, id_ in vocabulary.items()}
    added_tokens = [
        {**added, "id": numbering[added["id"]]} for added in plain["added_tokens"]
    ]
    backend = Tokenizer.from_str(
        json.dumps(
            {
                **plain,
                "model": {**plain["model"], "vocab": vocabulary},
                "added_tokens": sorted(added_tokens, key=lambda added: added["id"]),
                "post_processor": _renumbered(plain["post_processor"], numbering),
            },
            ensure_ascii=False,
        )
    )
    written = backend.get_vocab()
    moved = [piece for piece, id_ in vocabulary.items() if written.get(piece) != id_]
    if moved or len(written) != len(vocabulary):
        raise TokenizerMismatch(
            f"{len(moved)} pieces did not get the ids they should have, the first is "
            f"{moved[:1]}.",
            hint="Choose the method continued_bpe, or another base model.",
        )
    return backend


def _renumbered(part: Any, numbering: Mapping[int, int]) -> Any:
    """A post-processor with its special ids given anew."""
    if not isinstance(part, dict):
        return part
    changed = dict(part)
    if "processors" in part:
        changed["processors"] = [_renumbered(p, numbering) for p in part["processors"]]
    for name in ("sep", "cls"):  # BERT's and RoBERTa's: [token, id]
        if name in part:
            changed[name] = [part[name][0], numbering[part[name][1]]]
    if isinstance(part.get("special_tokens"), dict):  # TemplateProcessing
        changed["special_tokens"] = {
            name: {**token, "ids": [numbering[id_] for id_ in token["ids"]]}
            for name, token in part["special_tokens"].items()
        }
    return changed


def unreachable(backend: Tokenizer, pieces: Mapping[str, int]) -> list[str]:
    """Pieces (in their internal form, with their ids) that their own text does not give."""
    alone = counting.model_alone(json.loads(backend.to_str()), by_merges=True)
    encoded = alone.encode_batch_fast(list(pieces), add_special_tokens=False)
    return [
        piece
        for (piece, id_), encoding in zip(pieces.items(), encoded, strict=True)
        if encoding.ids != [id_]
    ]


def fires(plain: dict[str, Any], words: Counter[str]) -> Counter[int]:
    """How often each id stands in the counted words (internal form)."""
    found: Counter[int] = Counter()
    alone = counting.model_alone(plain)
    for batch in batched(words.items(), counting.TOGETHER):
        encoded = alone.encode_batch_fast(
            [word for word, _ in batch], add_special_tokens=False
        )
        for (_, count), encoding in zip(batch, encoded, strict=True):
            for id_ in encoding.ids:
                found[id_] += count
    return found


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of up to `size` items."""
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch
