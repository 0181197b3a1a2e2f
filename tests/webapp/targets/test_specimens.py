from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.datasets.models import Dataset, DatasetVersion, Kind
from webapp.targets.specimens import (
    LONGEST,
    MEASURED_CHARACTERS,
    sample,
    shorten,
    specimen,
)


def version(kind: str, languages: list[str], *rows: dict) -> DatasetVersion:
    """A version that is not stored."""
    dataset = Dataset(name="x", kind=kind, languages=languages)
    return DatasetVersion(dataset=dataset, preview=list(rows))


def text(*texts: str, language: str = "sw") -> DatasetVersion:
    return version(Kind.MONOLINGUAL, [language], *({"text": t} for t in texts))


PAIRS = version(
    Kind.PARALLEL,
    ["en", "sw"],
    {"source": "Good morning.", "target": "Habari za asubuhi."},
    {"source": "Good night.", "target": "Usiku mwema."},
)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        (
            "Sura 1\nPaka analala juu ya mkeka. Mbwa anamtazama paka huyo.",
            "Paka analala juu ya mkeka.",
        ),
        (
            "मैं घर जा रहा हूँ और वह बाज़ार जा रही है। फिर हम खाना खाएँगे।",
            "मैं घर जा रहा हूँ और वह बाज़ार जा रही है।",
        ),
        (
            "بۇ تور ئىچىدە ياشاش مەن ئۈچۈن قانچىلىك؟ ئازاد.",
            "بۇ تور ئىچىدە ياشاش مەن ئۈچۈن قانچىلىك؟",
        ),
    ],
)
def test_a_whole_sentence_is_shown(given_text: str, expected: str) -> None:
    assert specimen([text(given_text)], "sw") == expected


def test_own_text_goes_before_translations() -> None:
    own = text("Paka analala juu ya mkeka mkubwa.")
    assert specimen([PAIRS, own], "sw") == "Paka analala juu ya mkeka mkubwa."
    assert specimen([PAIRS], "sw") == "Habari za asubuhi."
    assert specimen([PAIRS], "en") == "Good morning."
    assert specimen([PAIRS], "sw-TZ") == "Habari za asubuhi."
    assert specimen([PAIRS], "fr") == ""
    assert specimen([], "sw") == ""


@given(st.text(max_size=400))
def test_a_shortened_text_is_a_line_of_the_beginning(given_text: str) -> None:
    short = shorten(given_text)
    assert len(short) <= LONGEST
    assert " ".join(given_text.split()).startswith(short)
    assert bool(short) == bool(given_text.strip())


def test_translations_are_measured_before_anything_else() -> None:
    own, english = text("Paka analala."), text("The cat sleeps.", language="en")
    paired = sample([own, PAIRS], [english], "sw", "en")
    assert paired.paired
    assert paired.target == "Habari za asubuhi.\nUsiku mwema."
    assert paired.protected == "Good morning.\nGood night."
    apart = sample([own], [english], "sw", "en")
    assert not apart.paired
    assert (apart.target, apart.protected) == ("Paka analala.", "The cat sleeps.")


def test_pairs_of_other_languages_are_no_comparison() -> None:
    assert not sample([PAIRS], [], "sw", "fr").paired
    assert sample([PAIRS], [], "sw", "fr").target == ""


def test_no_more_than_a_few_thousand_characters_are_measured() -> None:
    long = sample([text(*["abc " * 500] * 50)], [], "sw", "en")
    assert 1_000 < len(long.target) <= MEASURED_CHARACTERS + 50
