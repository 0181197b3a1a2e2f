"""CONTRACT: what every stage that learns in steps is told: how long, how often measured
and saved, how exactly. Standard library only."""

from __future__ import annotations

from typing import Any

from training.settings.setting import setting


def minutes(default: float, *, group: str = "") -> Any:
    """The time that a stage has, at most."""
    return setting(
        default,
        "Minutes at most",
        "The number of steps is set from this and a short measurement of speed. What an "
        "earlier stage leaves of its minutes is added.",
        unit="minutes",
        low=0.05,
        high=100_000,
        acts={"steps": (0,)},
        group=group,
    )


def steps(derived_from: str = "minutes", *, group: str = "") -> Any:
    """Steps in place of what they are derived from otherwise."""
    return setting(
        0,
        "Steps",
        f"0: derived from the {derived_from}. Otherwise exactly this many.",
        unit="steps",
        low=0,
        high=100_000_000,
        group=group,
    )


def evaluations(default: int, *, group: str = "") -> Any:
    """Points of the curves."""
    return setting(
        default,
        "Evaluations",
        "How often the curves get a point and the prompts are answered.",
        unit="times",
        low=1,
        high=1_000,
        group=group,
    )


def checkpoint_minutes(*, group: str = "") -> Any:
    """Time between checkpoints."""
    return setting(
        5.0,
        "Minutes between checkpoints",
        "What is lost at most when a machine dies.",
        unit="minutes",
        low=0.02,
        high=600,
        group=group,
    )


def precision(*, group: str = "") -> Any:
    """Numbers of 32 or of 16 bits."""
    return setting(
        "auto",
        "Precision",
        "auto: bfloat16 where it is measured to be faster. A run that must come out the "
        "same again names one: clocks do not say the same twice.",
        choices=("auto", "float32", "bfloat16"),
        group=group,
    )


def gradient_checkpointing(row: str, *, group: str = "") -> Any:
    """Whether layers are computed twice; `row` is what a pass takes whole."""
    return setting(
        "auto",
        "Gradient checkpointing",
        "Layers are computed a second time on the way back instead of being kept: far "
        f"less memory, about a third more time. auto: on where one {row} would not fit "
        "beside the weights otherwise.",
        choices=("auto", "on", "off"),
        source="Chen et al. 2016, sublinear memory cost",
        group=group,
    )
