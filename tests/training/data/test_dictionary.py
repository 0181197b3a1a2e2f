from __future__ import annotations

from pathlib import Path

import pytest

from training.data.dictionary import Dictionary, insert, switch

ROWS = [
    {"source": "cat", "target": "мысық", "languages": ["en", "kk"]},
    {"source": "Almaty", "target": "Алматы", "languages": ["en", "kk"]},
    {
        "source": "United Nations",
        "target": "Біріккен Ұлттар",
        "languages": ["en", "kk"],
    },
    {"source": "united", "target": "біріккен", "languages": ["en", "kk"]},
    {"source": "name", "target": "མིང་", "languages": ["en", "bo"]},
    {"source": "first", "target": "དང་པོ", "languages": ["en", "bo"]},
    {"source": "river", "target": "河", "languages": ["en", "zh"]},
    {"source": "village", "target": "村子", "languages": ["en", "zh"]},
]


def _found(text: str, language: str) -> list[tuple[str, str]]:
    mentions = Dictionary.of(ROWS, language).mentions(text)
    return [(text[m.start : m.stop], m.meanings[0]) for m in mentions]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("kk", "Мысық, мысықтар Алматы-да.", [("Мысық", "cat")]),
        (
            "kk",
            "Біріккен Ұлттар біріккен",
            [("Біріккен Ұлттар", "United Nations"), ("біріккен", "united")],
        ),
        ("kk", "Біріккен, Ұлттар", [("Біріккен", "united")]),
        ("bo", "མིང་དང་པོ་ཡིན།", [("མིང", "name"), ("དང་པོ", "first")]),
        ("zh", "他们在河边的小村子里", [("河", "river"), ("村子", "village")]),
        ("sw", "cat мысық", []),
    ],
)
def test_whole_words_are_found(language: str, text: str, expected: list) -> None:
    assert _found(text, language) == expected


@pytest.mark.parametrize(
    ("language", "word", "text", "there"),
    [
        ("th", "น", "น้ำ", False),  # a vowel and a tone on it
        ("th", "ก", "กา", False),  # a vowel that Unicode calls a letter
        ("th", "น", "เน", False),  # a vowel that is written first
        ("th", "กา", "กาบิน", True),
        ("lo", "ນ", "ນຳ", False),
        ("my", "မ", "မာ", False),
        ("my", "မ", "မ္မ", False),  # stacked
        ("km", "ក", "កា", False),
        ("km", "ក", "កក", True),
        ("zh", "河", "在河边", True),
    ],
)
def test_letters_and_their_signs_are_not_torn_apart(
    language: str, word: str, text: str, there: bool
) -> None:
    row = {"source": word, "target": "x", "languages": [language, "en"]}
    known = Dictionary.of([row], language)
    assert bool(list(known.mentions(text))) is there
    assert (switch(text, known, share=1.0, seed=1) != text) is there


def test_neighbours_that_are_replaced_do_not_become_one_word() -> None:
    known = Dictionary.of(
        [{"source": "我", "target": "I", "languages": ["zh", "en"]}]
        + [{"source": "爱", "target": "love", "languages": ["zh", "en"]}],
        "zh",
    )
    assert switch("我爱爱，你iPhone我", known, share=1.0, seed=1) == (
        "I love love，你iPhone I"
    )


def test_insertion_is_after_the_mention_and_marked() -> None:
    known = Dictionary.of(ROWS, "kk")
    text = "Алматы мен мысық, тағы мысық."
    found, spans = insert(text, known, share=1.0, marks="parentheses", seed=1)
    assert found == "Алматы (Almaty) мен мысық (cat), тағы мысық (cat)."
    assert [found[a:b] for a, b in spans] == [" (Almaty)", " (cat)", " (cat)"]
    tagged, spans = insert(text, known, share=1.0, marks="tags", seed=1)
    assert tagged.startswith("Алматы<translate>Almaty</translate> мен")
    left = list(tagged)
    for start, stop in reversed(spans):
        del left[start:stop]
    assert "".join(left) == text
    assert insert(text, known, share=0.0, marks="tags", seed=1) == (text, [])


def test_a_share_of_the_mentions_is_taken_and_the_seed_decides() -> None:
    known = Dictionary.of(ROWS, "kk")
    text = "мысық жол " * 2_000
    one, spans = insert(text, known, share=0.3, marks="tags", seed=1)
    assert len(spans) == pytest.approx(600, abs=80)
    assert insert(text, known, share=0.3, marks="tags", seed=1) == (one, spans)
    assert insert(text, known, share=0.3, marks="tags", seed=2)[0] != one
    switched = switch(text, known, share=0.3, seed=1)
    assert switched.count("cat") == pytest.approx(600, abs=80)
    assert switched.count("cat") + switched.count("мысық") == 2_000
    assert switch(text, known, share=0.0, seed=1) == text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "language"), [("swahili", "sw"), ("kazakh", "kk"), ("tibetan", "bo")]
)
def test_real_text_holds_words_of_a_real_dictionary(
    shared_data: Path, folder: str, language: str
) -> None:
    lines = (shared_data / f"dictionaries/{folder}.txt").read_text("utf-8").splitlines()
    rows = [
        {"source": english, "target": word, "languages": ["en", language]}
        for english, _, word in (line.partition("\t") for line in lines)
    ]
    known = Dictionary.of(rows, language)
    (corpus, *_) = sorted((shared_data / folder).glob("corpus*.txt"))
    with corpus.open(encoding="utf-8") as file:
        text = file.read(20_000)
    words = len(text.split())
    mentions = list(known.mentions(text))
    assert 0.1 * words < len(mentions)
    assert all(a.stop <= b.start for a, b in zip(mentions, mentions[1:], strict=False))
    # Another language's words are not there.
    assert not list(Dictionary.of(rows, "xx").mentions(text))
