from __future__ import annotations

import signal

import pytest

from training.errors import (
    EXIT_FAILED,
    EXIT_STOPPED,
    EXIT_SUCCEEDED,
    EXIT_UNEXPECTED,
)
from workers.outcomes import Ending, describe_failure


@pytest.mark.parametrize(
    ("code", "asked", "how"),
    [
        (EXIT_SUCCEEDED, False, "succeeded"),
        (EXIT_SUCCEEDED, True, "succeeded"),  # it was done before it could stop
        (EXIT_STOPPED, False, "stopped"),
        (EXIT_STOPPED, True, "stopped"),
        (-signal.SIGKILL, True, "stopped"),  # it did not stop in time
        (-signal.SIGTERM, True, "stopped"),  # asked before it could listen
        (EXIT_FAILED, True, "failed"),
        (EXIT_FAILED, False, "failed"),
        (EXIT_UNEXPECTED, False, "failed"),
        (-signal.SIGKILL, False, "failed"),
    ],
)
def test_how_it_ended(code: int, asked: bool, how: str) -> None:
    ending = Ending(code, asked)
    assert [ending.succeeded, ending.stopped] == [how == "succeeded", how == "stopped"]


def test_the_engines_own_words_are_kept() -> None:
    failure = {"code": "diverged", "sentence": "S", "hint": "H", "retryable": False}
    assert describe_failure(Ending(EXIT_FAILED, failure=failure)) == {
        "cause": "diverged",
        "sentence": "S",
        "hint": "H",
        "retryable": False,
    }


@pytest.mark.parametrize(
    ("number", "out_of_memory", "cause"),
    [
        (signal.SIGKILL, True, "out_of_memory"),
        (signal.SIGKILL, False, "killed"),
        (signal.SIGTERM, False, "killed"),
        (signal.SIGSEGV, False, "crashed"),
        (signal.SIGSEGV, True, "crashed"),
        (signal.SIGRTMIN + 1, False, "crashed"),
    ],
)
def test_a_death_has_a_cause(number: int, out_of_memory: bool, cause: str) -> None:
    failure = describe_failure(Ending(-number, out_of_memory=out_of_memory))
    assert failure["cause"] == cause
    assert failure["sentence"]
    assert failure["retryable"]


def test_silence_shows_the_last_line_of_the_log() -> None:
    failure = describe_failure(Ending(EXIT_UNEXPECTED, tail="KeyError: 'x'"))
    assert failure["cause"] == "unexpected"
    assert "KeyError: 'x'" in failure["hint"] and "once" in failure["hint"]
    assert not failure["retryable"]  # nobody knows whether it passes
