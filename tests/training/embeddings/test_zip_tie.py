"""Bytes of a token, in both kinds of tokenizers."""

from __future__ import annotations

import pytest

from tests.training.embeddings import material
from tests.training.vocabulary import bases
from training.embeddings import zip_tie
from training.vocabulary.pieces import byte_letters


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_every_byte_of_a_token_counts_the_same(kind: str) -> None:
    request = material.request("zip_tie", kind)
    mixtures = zip_tie.weigh(request).input
    old = bases.BASES[kind]()
    assert len(mixtures) == len(request.tokens)
    for token in request.tokens:
        if token.text is None:
            continue
        raw = token.text.encode()
        names = byte_letters() if kind == "byte_level" else None
        ids = [
            old.token_to_id(names[byte] if names else f"<0x{byte:02X}>") for byte in raw
        ]
        expected = {id_: ids.count(id_) / len(ids) for id_ in ids}
        assert mixtures[token.id] == pytest.approx(expected)


def test_a_base_without_bytes_keeps_the_mean_of_the_pieces() -> None:
    request = material.request(
        "zip_tie", "sentencepiece", old=bases.sentencepiece(byte_fallback=False)
    )
    assert zip_tie.weigh(request).input == {}
