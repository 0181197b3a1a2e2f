"""Too few minutes to learn to answer: when it is said, and how many would do."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from tests.webapp.jobs.planning.test_plan import (
    BENGALI,
    EXAMPLE,
    GERMAN,
    KAZAKH,
    LAPTOP,
    SMALL,
    plan_of,
)
from webapp.jobs.planning import answering
from webapp.jobs.planning.situation import Situation

SLOW = replace(GERMAN, devices=LAPTOP, minutes=10)  # 135 million weights on a CPU
FEW = replace(EXAMPLE, parallel_rows=0, instruction_rows=30)
TALKS = replace(EXAMPLE, passport=SMALL | {"chat_template": "{{ messages }}"})


def said(situation: Situation, **overrides: Any) -> str:
    warnings = plan_of(situation, **overrides).warnings
    found = [line for line in warnings if "steps of learning to answer" in line]
    assert len(found) < 2
    return found[0] if found else ""


@pytest.mark.parametrize(
    ("situation", "minutes", "warned"),
    [
        (EXAMPLE, 0.5, True),
        (EXAMPLE, 1, True),
        (EXAMPLE, 7, False),  # measured: greetings are answered
        (SLOW, 10, True),
        (SLOW, 120, False),
        (BENGALI, 10, True),
        (BENGALI, 1_440, False),
        (FEW, 2, False),  # the few examples end it; another warning says so
        (TALKS, 1, False),  # it answered before
        (KAZAKH, 1, False),  # there is nothing to learn answering from
        (replace(EXAMPLE, goal="write"), 1, False),
    ],
)
def test_too_few_minutes_are_said(
    situation: Situation, minutes: float, warned: bool
) -> None:
    assert bool(said(replace(situation, minutes=minutes))) == warned


@pytest.mark.parametrize(
    "situation",
    [
        replace(EXAMPLE, minutes=0.5),
        replace(EXAMPLE, minutes=1),
        replace(EXAMPLE, minutes=0.5, protected_bytes=0),
        SLOW,
        replace(SLOW, minutes=0.5),
        replace(BENGALI, minutes=5),
    ],
)
def test_the_minutes_that_are_named_do_and_much_fewer_do_not(
    situation: Situation,
) -> None:
    named = float(re.findall(r"About (\d+) minutes", said(situation))[0])
    assert named > situation.minutes
    assert not said(replace(situation, minutes=named))
    assert said(replace(situation, minutes=0.6 * named - 0.5))


def test_settings_that_a_person_chose_are_counted() -> None:
    short = replace(EXAMPLE, minutes=1)
    assert not said(short, tune_instructions={"steps": 50}), "they asked for 50"
    assert not said(short, tune_instructions={"minutes": 5})
    fixed = said(
        replace(EXAMPLE, minutes=60),
        tune_instructions={"minutes": 0.1},
        continue_pretraining={"minutes": 1.0},
    )
    assert "whole job" not in fixed and "stage" in fixed, "more for the job is no help"


def test_what_reading_leaves_over_is_counted() -> None:
    long = replace(EXAMPLE, minutes=2)
    read_briefly = plan_of(long, continue_pretraining={"epochs": 0.5})
    read_long = plan_of(long, continue_pretraining={"epochs": 1_000.0})
    brief, _wanted = answering.steps(long, read_briefly.stages)
    assert brief > answering.steps(long, read_long.stages)[0]


def test_a_machine_that_was_slow_is_counted_as_slow() -> None:
    """0.96 s for 16 examples on two cores at a load of 6: 7 minutes gave 105 steps."""
    slow = replace(EXAMPLE, seconds_per_example=0.06)
    assert not said(EXAMPLE)
    possible, wanted = answering.steps(slow, plan_of(slow).stages)
    assert possible < 150 < wanted
    named = float(re.findall(r"About (\d+) minutes", said(slow))[0])
    assert 7 < named < 60 and not said(replace(slow, minutes=named))
    fast = replace(EXAMPLE, minutes=1, seconds_per_example=0.0001)
    assert said(replace(fast, seconds_per_example=0)) and not said(fast)
