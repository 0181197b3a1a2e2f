"""What a stage that trains decides once and follows ever after, also when it is resumed.

The plan itself is the stage's own (steps, precision, measured speed) and lies in its work
folder. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.errors import SpecInvalid


def refuse_changed(stage: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise SpecInvalid where a run that was begun with `then` is to go on with `now`:
    settings, text, tokenizer and weights by name. The checkpoints would be of another
    run."""
    for name, value in now.items():
        if then.get(name) != value:
            raise SpecInvalid(
                f"{stage}.{name}",
                f"What {stage} began with has changed ({name}); start a new job instead.",
            )


def evaluation_steps(steps: int, evaluations: int) -> frozenset[int]:
    """The steps after which the curves get a point; the last step is one."""
    count = min(evaluations, steps)
    return frozenset(round(steps * n / count) for n in range(1, count + 1))
