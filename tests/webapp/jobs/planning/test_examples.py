"""How long the examples of learning to answer are taken to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.webapp.jobs.planning.test_plan import EXAMPLE, SMALL
from training.data.builders import builders
from training.spec import (
    AlignPreferences,
    ContinuePretraining,
    ExtendVocabulary,
    StageSettings,
    TuneInstructions,
)
from webapp.jobs.planning import constants as c
from webapp.jobs.planning import examples, predictions
from webapp.jobs.planning.situation import RowLengths, Situation

ROWS = (
    RowLengths("instructions", longest=100, taught=1.0),
    RowLengths("parallel", longest=40, taught=0.5),
    RowLengths("dictionary", longest=5, taught=0.5),
)
KNOWN = replace(EXAMPLE, rows_of_examples=ROWS)
EXTENDED = ExtendVocabulary(method="continued_bpe", new_tokens=1_400)
# What is asked for by hand in every test, so that only it decides.
ALONE: dict[str, Any] = {
    "maximum_tokens": 2_000,
    "raw_text_share": 0.0,
    "translation_share": 0.0,
    "dictionary_share": 0.0,
}


def longest(situation: Situation, *before: StageSettings, **settings: Any) -> int:
    """Tokens of the longest example, without the template's."""
    stage = TuneInstructions(**ALONE | settings)
    *_, found = examples.as_long_as_known(situation, [*before, stage])
    assert isinstance(found, TuneInstructions)
    return found.maximum_tokens - c.FORM_TOKENS


@pytest.mark.parametrize(
    ("asked", "tokens"),
    [
        ({}, 100),
        ({"translation_share": 0.3}, 100),
        ({"translation_share": 0.3, "few_shot_share": 0.1}, 160),
        (
            {"translation_share": 0.3, "few_shot_share": 0.1, "few_shot_examples": 9},
            400,
        ),
        ({"dictionary_share": 0.1}, 100),
        ({"taco_share": 0.1}, 300),
        ({"cross_lingual_share": 0.1}, 200),
        ({"raw_text_share": 0.5}, 127),  # 300 characters at 1.9 a token, less of a form
        ({"document_share": 0.5}, 842),
    ],
)
def test_examples_are_as_long_as_what_they_are_made_of(
    asked: dict[str, Any], tokens: int
) -> None:
    assert longest(KNOWN, **asked) == tokens


def test_new_tokens_make_what_is_in_the_language_shorter() -> None:
    fewer = replace(EXTENDED, new_tokens=256)
    half = KNOWN.characters_per_token / 3.41  # the middle of what was measured
    assert longest(KNOWN, EXTENDED) == pytest.approx(100 * half, abs=1)
    assert longest(KNOWN, EXTENDED) < longest(KNOWN, fewer) < longest(KNOWN)
    english = replace(KNOWN, rows_of_examples=(replace(ROWS[0], taught=0.0),))
    assert longest(english, EXTENDED) == 100
    assert longest(KNOWN, replace(EXTENDED, method="keep")) == 100


@pytest.mark.parametrize(
    ("situation", "asked"),
    [
        (EXAMPLE, {}),  # nobody knows how long the rows are
        (KNOWN, {"packing": "on"}),
        (KNOWN, {"invented_conversations": 5}),  # not written yet
        (KNOWN, {"translated_rows": 5}),
        (
            replace(KNOWN, rows_of_examples=(RowLengths("instructions", 9_999, 1.0),)),
            {},
        ),
    ],
)
def test_what_is_not_known_may_be_as_long_as_the_settings_allow(
    situation: Situation, asked: dict[str, Any]
) -> None:
    assert longest(situation, **asked) == 2_000 - c.FORM_TOKENS


def test_pairs_of_answers_and_other_stages() -> None:
    rows = (*ROWS, RowLengths("preferences", longest=60, taught=1.0))
    reads = ContinuePretraining()
    found = examples.as_long_as_known(
        replace(KNOWN, rows_of_examples=rows), [reads, AlignPreferences()]
    )
    assert found[0] is reads
    assert getattr(found[1], "maximum_tokens", 0) == 60 + c.FORM_TOKENS
    unknown = examples.as_long_as_known(KNOWN, [AlignPreferences()])
    assert unknown == [AlignPreferences()]


def test_every_way_of_making_examples_is_counted() -> None:
    counted = {*examples.ROWS_IN_ONE, *examples.CHARACTERS_OF_ONE}
    assert counted == {f"{name}_share" for name in builders()} | {"raw_text_share"}


def test_short_examples_need_less_memory() -> None:
    passport = SMALL | {"layers": 6, "width": 256, "rows": 4_096}
    stages = [TuneInstructions()]
    known = replace(KNOWN, passport=passport)
    short = predictions.predict(known, stages)
    unknown = predictions.predict(replace(known, rows_of_examples=()), stages)
    assert short["memory_activations"] < 0.5 * unknown["memory_activations"]
