"""The mean of the rows of a token's bytes (zip-tie of Bailong, arXiv 2404.00862).

The bytes are the single-byte pieces of the old tokenizer: GPT-2's letters or <0x00> of
SentencePiece. A token with a byte that has no piece keeps the mean of its pieces.
"""

from __future__ import annotations

from training.embeddings.request import Mixture, Mixtures, Request, count
from training.embeddings.words import form_of
from training.vocabulary.pieces import byte_letters


def weigh(request: Request) -> Mixtures:
    """Equal weights for the bytes."""
    old, new = request.pieces()
    old_form, form = form_of(old), form_of(new)
    name = byte_letters().get if old_form.byte_level else "<0x{:02X}>".format
    ids = [old.token_to_id(str(name(byte))) for byte in range(256)]
    mixtures: dict[int, Mixture] = {}
    for token in request.tokens:
        found = [ids[byte] for byte in form.as_bytes(token.piece)]
        if found and None not in found:
            mixtures[token.id] = count({}, [id_ for id_ in found if id_ is not None])
    return Mixtures.both(mixtures)
