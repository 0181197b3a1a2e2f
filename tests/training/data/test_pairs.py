from __future__ import annotations

import pytest

from training.data.builders.translation import directions
from training.data.conversations import answer_text
from training.data.pairs import Pair, read_pairs, side_of


@pytest.mark.parametrize(
    ("languages", "language", "side"),
    [
        (("en", "kk"), "kk", 1),
        (("zh-Hans", "zh-Hant"), "zh-Hant", 1),
        (("fr", "de"), "kk", None),
        # Prepared rows have the job's tags; no tag is guessed here.
        (("kk-Cyrl", "en"), "kk", None),
    ],
)
def test_the_side_of_a_language(
    languages: tuple[str, str], language: str, side: int | None
) -> None:
    assert side_of(languages, language) == side


def test_rows_without_two_sides_are_passed_over() -> None:
    named = {"languages": ["en", "sw"]}
    rows = [
        {"source": " a ", "target": "b", **named},
        {"source": "a", "target": " ", **named},
        {"target": "b", **named},
        {"source": None, "target": "b", **named},
    ]
    (pair,) = read_pairs(rows)
    assert pair == Pair(("en", "sw"), ("a", "b"))
    assert (pair.text("sw"), pair.text("kk")) == ("b", "")


def test_sides_are_told_by_their_tags() -> None:
    pair = Pair(("kk", "en"), ("сөз", "word"))
    assert directions(pair, "kk", "into_target") == [(1, 0)]
    assert directions(pair, "kk", "out_of_target") == [(0, 1)]
    assert directions(pair, "sw", "into_target") == []
    row = {"source": "сөз", "target": "word", "languages": list(pair.languages)}
    assert answer_text(row, "kk") == "сөз"
    assert answer_text(row, "en") == "word"
