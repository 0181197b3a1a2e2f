"""From translations to weights of pieces."""

from __future__ import annotations

import pytest

from tests.training.embeddings import material
from training.embeddings import dictionary, spread, trans_tokenization
from training.embeddings.words import phrase_forms
from training.errors import MaterialMissing


def test_half_goes_to_all_and_half_in_order() -> None:
    table = spread.counts()
    spread.spread(table, (1, 2), (10, 11), 8.0)
    assert table == {10: {1: 3.0, 2: 1.0}, 11: {1: 1.0, 2: 3.0}}
    table = spread.counts()
    spread.spread(table, (1, 2, 3), (10, 11), 12.0)
    assert sum(sum(row.values()) for row in table.values()) == pytest.approx(12)
    # The least common multiple is 6: 10 stands over 1, 1, 2 and 11 over 2, 3, 3; and
    # one for each pair.
    assert table[10] == pytest.approx({1: 3, 2: 2, 3: 1})
    assert table[11] == pytest.approx({1: 1, 2: 2, 3: 3})


def test_a_word_without_weights_takes_its_relatives() -> None:
    named = {1: " abc", 2: "bc", 3: "xyz", 4: "abcd", 5: " bc"}
    found = spread.related(named, [1, 5])
    assert found == {2: [1, 5], 4: [1, 5]}


def whole_words() -> dict[int, tuple[str, str]]:
    """New tokens that are a whole word of the lexicon: id -> the pair."""
    made = material.extension()
    forms = phrase_forms(made.backend, [two for _, two in material.lexicon()])
    return {
        forms[two][0][0]: (one, two)
        for one, two in material.lexicon()
        if len(forms[two][0]) == 1
    }


@pytest.mark.parametrize("name", ["trans_tokenization", "dictionary"])
def test_a_words_row_is_made_of_its_translations_pieces(name: str) -> None:
    weigh = {
        "trans_tokenization": trans_tokenization.weigh,
        "dictionary": dictionary.weigh,
    }
    mixtures = weigh[name](material.request(name)).input
    forms = phrase_forms(
        material.bases.byte_level(), [one for one, _ in material.lexicon()]
    )
    whole = whole_words()
    assert len(whole) > 10
    for id_, (one, _) in whole.items():
        ids = set(forms[one][0]) | set(forms[one][1])
        share = sum(mixtures[id_].get(old, 0.0) for old in ids)
        assert share > 0.9


def test_rows_of_one_word_are_a_dictionary() -> None:
    request = material.request("dictionary", dictionary=tuple, pairs=material.lexicon)
    assert (
        dictionary.weigh(request).input
        == dictionary.weigh(material.request("dictionary")).input
    )


def test_what_cannot_help_is_refused() -> None:
    with pytest.raises(MaterialMissing, match="no rows of one word"):
        dictionary.weigh(material.request("dictionary", dictionary=tuple))
    # A Thai phrase is one word, and hardly stands twice.
    for pair in (("ba ko", "қа бар"), ("ba ko", "วันนี้อากาศดีมาก")):
        with pytest.raises(MaterialMissing, match="together twice") as refused:
            trans_tokenization.weigh(
                material.request("trans_tokenization", pairs=lambda pair=pair: [pair])
            )
        assert "put spaces there" in refused.value.hint
