"""Old pieces under new tokens, by places in bytes."""

from __future__ import annotations

import pytest

from tests.training import tiny
from tests.training.embeddings import material
from training.embeddings import align
from training.embeddings.request import subtoken_mean


def test_shares_of_pieces_under_tokens() -> None:
    """abc|de|f over ab|cd|ef."""
    found = align.covered([3, 5, 6], [2, 4, 6])
    assert found == [
        (0, 0, 1.0),
        (0, 1, 0.5),
        (1, 1, 0.5),
        (1, 2, 0.5),
        (2, 2, 0.5),
    ]


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece", "metaspace", "llama3"])
def test_where_tokens_only_join_old_pieces_it_is_their_mean(kind: str) -> None:
    request = material.request("align", kind)
    mixtures = align.weigh(request).input
    tokens = {token.id: token for token in request.tokens}
    assert len(mixtures) > 0.5 * len(tokens)
    for id_, mixture in mixtures.items():
        assert mixture == pytest.approx(subtoken_mean(tokens[id_]))


def test_a_token_that_cuts_old_pieces_in_two_differs() -> None:
    """The control: another tokenizer of the base's own language."""
    texts = [one for one, _ in material.pairs()]
    new = tiny.tokenizer(texts, size=300).backend_tokenizer
    fields = material.replaced(new, dict.fromkeys(range(262), 4))
    request = material.request("align", **fields, target_texts=lambda: texts)
    mixtures = align.weigh(request).input
    tokens = {token.id: token for token in request.tokens}
    different = [
        id_ for id_, mix in mixtures.items() if mix != subtoken_mean(tokens[id_])
    ]
    assert len(different) > 10
    assert all(sum(mix.values()) == pytest.approx(1) for mix in mixtures.values())
