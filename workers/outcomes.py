"""How an attempt ended, and what to say about an engine that could not say it itself."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from training.errors import EXIT_FAILED, EXIT_STOPPED, EXIT_SUCCEEDED


@dataclass(frozen=True)
class Ending:
    """The engine's exit code (-signal) and whether it had been asked to stop.

    `failure` is its own last word ("failed" event), `tail` the last line of its log,
    `out_of_memory` whether the kernel killed a process for memory meanwhile.
    """

    code: int
    asked: bool = False
    failure: dict[str, Any] | None = None
    tail: str = ""
    out_of_memory: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether every stage is finished."""
        return self.code == EXIT_SUCCEEDED

    @property
    def stopped(self) -> bool:
        """Whether it only stopped; its checkpoint is on disk or the last one counts."""
        if self.code == EXIT_STOPPED:
            return True
        return self.asked and self.code not in (EXIT_SUCCEEDED, EXIT_FAILED)

    @property
    def died(self) -> bool:
        """Whether a signal ended it: another attempt goes on from its checkpoint."""
        return self.code < 0 and not self.asked


def describe_failure(ending: Ending) -> dict[str, Any]:
    """`cause`, `sentence`, `hint`, `retryable` of an ending that is a failure."""
    if ending.code < 0:
        return describe_death(ending) | {"retryable": True}
    if ending.failure:
        return {
            "cause": str(ending.failure.get("code") or "failed")[:40],
            "sentence": str(ending.failure.get("sentence") or ""),
            "hint": str(ending.failure.get("hint") or ""),
            "retryable": bool(ending.failure.get("retryable")),
        }
    return {
        "cause": "unexpected",
        "sentence": _("The training program ended without saying why (code %d).")
        % ending.code,
        "hint": _last_line(ending, unexpected_hint()),
        "retryable": False,
    }


def describe_death(ending: Ending) -> dict[str, str]:
    """`cause`, `sentence`, `hint` of an ending by a signal."""
    number = -ending.code
    if ending.out_of_memory and number == signal.SIGKILL:
        cause, sentence = (
            "out_of_memory",
            _("The machine ran out of memory and ended the training program."),
        )
        hint = _(
            "Choose a smaller batch, shorter blocks or a smaller base model. Trying "
            "again goes on from the last checkpoint."
        )
    elif number in (signal.SIGKILL, signal.SIGTERM):
        cause, sentence = (
            "killed",
            _("Something outside ended the training program (%s).") % _name(number),
        )
        hint = _(
            "Often the machine is short of memory. Trying again goes on from the last "
            "checkpoint."
        )
    else:
        cause, sentence = (
            "crashed",
            _("The training program crashed (%s).") % _name(number),
        )
        again = _("Trying again goes on from the last checkpoint.")
        hint = _last_line(ending, again)
    return {"cause": cause, "sentence": sentence, "hint": hint}


def unexpected_hint() -> str:
    """What to do about a failure that nobody has foreseen: it is not known to pass."""
    return _(
        "Try again once: it goes on from the last checkpoint. If it ends so again, show "
        "the log to whoever runs this site."
    )


def _last_line(ending: Ending, hint: str) -> str:
    if not ending.tail:
        return hint
    return _("%(hint)s The last line of its log: %(line)s") % {
        "hint": hint,
        "line": ending.tail,
    }


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
