"""Whether the minutes suffice to learn to answer, and how many would.

A small model that was tuned for too few steps does not answer, it repeats itself: measured
on the bundled example (bench/RESULTS.md, "The bundled example").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from django.utils.translation import gettext as _

from training.spec import STEPS_TO_ANSWER, StageSettings, TuneInstructions
from webapp.jobs.planning import constants as c
from webapp.jobs.planning import predictions
from webapp.jobs.planning.situation import Situation

# The stages of the same plan with other minutes for the whole job.
Replan = Callable[[float], Sequence[StageSettings]]


def warn(
    situation: Situation, stages: Sequence[StageSettings], replan: Replan
) -> list[str]:
    """A sentence with the minutes that would do, where there are too few."""
    if situation.passport.get("chat_template"):
        return []  # the base answers already
    possible, wanted = steps(situation, stages)
    if possible >= wanted:
        return []
    words = {"possible": possible, "wanted": wanted}
    minutes = enough_minutes(situation, wanted, replan)
    if minutes is None:
        sentence = _(
            "There is time for about %(possible)d steps of learning to answer; a small "
            "base took about %(wanted)d, and repeats itself with fewer. Give the stage "
            "“Learn to answer” more minutes."
        )
    else:
        words["minutes"] = minutes
        sentence = _(
            "There is time for about %(possible)d steps of learning to answer; a small "
            "base took about %(wanted)d, and repeats itself with fewer. About "
            "%(minutes)d minutes for the whole job would do; more where the machine is "
            "slow or busy."
        )
    return [sentence % words]


def steps(situation: Situation, stages: Sequence[StageSettings]) -> tuple[int, int]:
    """(steps of tuning that fit into the minutes, steps that are wanted); (0, 0) where
    nothing is tuned. No more are wanted than the passes over the examples allow."""
    possible = wanted = 0
    spare = 0.0  # seconds that a stage leaves go to the next that takes minutes
    # Where reading was measured itself it needs no likeness to tuning.
    measured = predictions.slowest_measured(situation)
    slowness = 1.0 if measured else _slowness(situation)
    for stage in stages:
        if not hasattr(stage, "minutes"):
            continue
        seconds = stage.minutes * 60 + spare
        needed = predictions.most_seconds(situation, stage) * slowness
        spare = max(0.0, seconds - needed)
        if not isinstance(stage, TuneInstructions):
            continue
        limit = stage.steps or _passes_in_steps(situation, stage)
        fit = int(seconds * c.STEPS_SHARE / _seconds_per_step(situation, stage))
        possible += stage.steps or min(limit, max(1, fit))
        wanted += limit
    return possible, min(wanted, STEPS_TO_ANSWER)


def enough_minutes(situation: Situation, wanted: int, replan: Replan) -> int | None:
    """The least minutes for the whole job with so many steps; None where none suffice."""

    def suffice(minutes: float) -> bool:
        return steps(situation, replan(minutes))[0] >= wanted

    low, high = situation.minutes, 2 * situation.minutes
    while not suffice(high):
        low, high = high, 2 * high
        if high > c.UNTIMED_MINUTES:
            return None
    while high - low > max(0.5, 0.02 * high):
        middle = (low + high) / 2
        low, high = (low, middle) if suffice(middle) else (middle, high)
    return max(2, math.ceil(high))


def _slowness(situation: Situation) -> float:
    """How many times as long as by the formula an example took before; 1 unknown."""
    by_formula = c.EXAMPLE_TOKENS / predictions.tokens_per_second(situation)
    return (situation.seconds_per_example or by_formula) / by_formula


def _seconds_per_step(situation: Situation, stage: TuneInstructions) -> float:
    tokens = stage.batch_examples * c.EXAMPLE_TOKENS
    by_formula = tokens / predictions.tokens_per_second(situation)
    return by_formula * _slowness(situation)


def _passes_in_steps(situation: Situation, stage: TuneInstructions) -> int:
    """Steps of all passes over what the rows become with translations and plain text."""
    answers = situation.instruction_rows / max(0.01, 1 - stage.translation_share)
    rows = min(answers, situation.examples) if answers else situation.parallel_rows
    examples = rows / max(0.01, 1 - stage.raw_text_share)
    return max(1, math.ceil(stage.epochs * examples / stage.batch_examples))
