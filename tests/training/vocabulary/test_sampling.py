"""Several languages share the tokens as the exponent and the least share say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.training import tiny
from tests.training.vocabulary import bases
from training.vocabulary import extension, sampling
from training.vocabulary.change import unreachable

LARGE = [("kk", text) for text in tiny.documents(300)]
SMALL = [("bo", text) for text in tiny.documents(3, script="tibetan")]
SETTINGS = replace(bases.SETTINGS, minimum_occurrences=2)


def shares(**changes: float) -> dict[str, dict]:
    made = extension.extend(
        bases.byte_level(),
        lambda: [*LARGE, *SMALL],
        replace(SETTINGS, new_tokens=80, **changes),
        held_out=[("kk", "қабар тыңқа"), ("bo", SMALL[0][1])],
    )
    assert unreachable(made.backend, {t.piece: t.id for t in made.tokens}) == []
    return made.figures["tokens_by_language"]


def test_factors_give_the_published_probabilities() -> None:
    found = sampling.factors({"a": 900, "b": 90, "c": 10, "none": 0}, 0.3)
    weights = [(n / 1000) ** 0.3 for n in (900, 90, 10)]
    for name, count, weight in zip("abc", (900, 90, 10), weights, strict=True):
        read = count * found[name] / 1000 / sampling.PARTS
        assert read == pytest.approx(weight / sum(weights), abs=0.001)
    assert set(sampling.factors({"a": 9, "b": 1}, 1.0).values()) == {0}
    assert set(sampling.factors({"a": 9}, 0.3).values()) == {0}


def test_a_smaller_exponent_gives_the_small_language_more() -> None:
    as_is, even = shares(), shares(sampling_exponent=0.1)
    assert as_is["bo"]["tokens"] < even["bo"]["tokens"]
    assert even["bo"]["tokens_per_word_after"] < as_is["bo"]["tokens_per_word_after"]
    for found in (as_is, even):
        assert sum(row["tokens"] for row in found.values()) == 80
    for row in even.values():
        assert row["tokens_per_word_after"] < row["tokens_per_word_before"]


def test_a_least_share_is_given_as_far_as_the_text_goes() -> None:
    assert shares()["bo"]["share"] < 0.3
    given = shares(least_language_share=0.3)
    assert given["bo"]["share"] >= 0.3 and given["kk"]["share"] >= 0.3


def test_occurrences_stay_true_whatever_the_weights() -> None:
    """A rare word is not made frequent by its language's weight."""
    rare = [*LARGE, ("bo", "བོདསྐད ཡིགགི")]
    settings = replace(bases.SETTINGS, minimum_occurrences=3, sampling_exponent=0.0)
    made = extension.extend(bases.sentencepiece(), lambda: rare, settings)
    assert made.tokens
    assert min(token.occurrences for token in made.tokens) >= 3
    assert not any("བོད" in (token.text or "") for token in made.tokens)


def test_one_language_and_equal_weights_change_nothing() -> None:
    texts = [text for _, text in LARGE[:60]]
    plain = extension.extend(bases.byte_level(), lambda: texts, SETTINGS)
    named = extension.extend(
        bases.byte_level(),
        lambda: [("kk", text) for text in texts],
        replace(SETTINGS, sampling_exponent=0.3),
    )
    assert plain.backend.to_str() == named.backend.to_str()
    assert "tokens_by_language" not in named.figures
    halves = extension.extend(
        bases.byte_level(),
        lambda: [(("a", "b")[n % 2], text) for n, text in enumerate(texts)],
        SETTINGS,
    )
    assert plain.backend.to_str() == halves.backend.to_str()


def test_a_token_belongs_where_it_is_most_frequent_for_the_length() -> None:
    found = sampling.owners(
        {"a": Counter({1: 50, 2: 1}), "b": Counter({1: 10, 2: 1})},
        {"a": 1_000, "b": 100},
        [1, 2, 3],
    )
    assert found == {"b": 2, "a": 1}
