"""How much of a batch goes through the model at once, and less when memory runs out.

The batch of a step is what was planned; a forward pass takes some of its rows, and the
gradients are added. Where a pass does not fit, the gradients of the step are dropped, the
pass takes half of the rows and the same batch is tried again. The new size is kept with
the step from which on it holds: a run that was stopped before computes those steps again
in the sizes they had, and ends in the same weights bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from training import compute, manifest
from training.errors import OutOfMemory
from training.events import EventWriter
from training.ranks import ALONE, Ranks

Result = TypeVar("Result")

ONE_ROW = (
    "Choose shorter blocks, switch gradient checkpointing on, train low-rank additions "
    "(LoRA) instead of all weights, or take a machine with more memory."
)
# The others are in the middle of the same pass, and wait for this one's part.
IN_PARTS = (
    "The memory of one process is full, and where the weights are shared out in parts "
    "(device.sharing) a pass cannot be made smaller on the way."
)


class MicroBatches:
    """Tokens of one forward pass by step, kept in a file of the stage's work folder."""

    def __init__(
        self, path: Path, tokens: int, events: EventWriter, among: Ranks = ALONE
    ) -> None:
        """`tokens` is what a pass takes as long as memory suffices; `among` several
        processes a pass becomes smaller on all of them."""
        self.path, self.events, self.among = path, events, among
        self.sizes: list[list[int]] = [[0, tokens]]  # [from this step on, tokens]
        if path.is_file():
            self.sizes = json.loads(path.read_text(encoding="utf-8"))
        self.sizes = among.from_first(self.sizes)

    def rows(self, step: int, width: int) -> int:
        """Rows of `width` tokens that a pass of the step (from 0) takes, at least one."""
        tokens = next(size for first, size in reversed(self.sizes) if first <= step)
        return max(1, tokens // max(1, width))

    def attempt(
        self,
        step: int,
        shape: tuple[int, ...],
        compute_it: Callable[[int], Result],
        undo: Callable[[], None],
    ) -> Result:
        """`compute_it(rows of a pass)`, again with half of them whenever memory is full.

        `shape` is [rows, tokens] of what is computed; `undo` drops what an attempt left
        behind. Raises OutOfMemory where one row does not fit.
        """
        count, width = shape
        # Rows of a pass, and what becomes of them, are the same on all processes.
        width = int(self.among.largest(width))
        while True:
            rows = min(count, self.rows(step, width))
            state = compute.random_state()
            found: BaseException | None = None
            try:
                result = compute_it(rows)
            except (MemoryError, RuntimeError) as problem:
                if not compute.is_memory_error(problem):
                    raise
                if self.among.sharded:
                    raise OutOfMemory(IN_PARTS, hint=ONE_ROW) from problem
                found = problem
            if not self.among.any(found is not None):
                return result
            # Outside of the except clause: the failed pass is no longer held.
            undo()
            if rows == 1:
                raise OutOfMemory(
                    f"The memory is full: one row of {width:,} tokens does not fit.",
                    hint=ONE_ROW,
                ) from (found and found.with_traceback(None))
            del found
            compute.restore_random_state(state)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._shrink(step, rows, width)

    def _shrink(self, step: int, rows: int, width: int) -> None:
        half = rows // 2
        self.sizes = [entry for entry in self.sizes if entry[0] < step]
        self.sizes.append([step, half * width])
        if not self.among.first:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_json(self.path, self.sizes)
        self.events.note(
            f"The memory was full at step {step + 1}. From here on {half} rows of the "
            f"batch are computed at once instead of {rows}; a step still learns from "
            "the whole batch, it only takes a little longer.",
            level="warning",
        )


def drop_gradients(weights: Any) -> Callable[[], None]:
    """A function that drops the gradients of `weights`."""

    def drop() -> None:
        for weight in weights:
            weight.grad = None

    return drop
