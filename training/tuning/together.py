"""Several processes in one tuning: whose rows, and one sum of gradients.

transformers' trainer and accelerate deal the rows out, `at_once` to each process in
turn. The gradients are added here and not by DistributedDataParallel: the loss of
instruction tuning goes past the model's own forward pass (training/head_loss.py), and a
process whose memory is full can still take a smaller pass, as the others wait for none of
its gradients in the middle of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from training.data.packing import IGNORED
from training.ranks import ALONE, Ranks
from training.tuning.sft_example import Example


def nothing(pad: int, *, packed: bool) -> Example:
    """A row that teaches nothing, where rows do not come out even."""
    return Example([pad], [IGNORED], 0, [0] if packed else [])


def filled(order: Sequence[int], batch: int, size: int, empty: int) -> list[int]:
    """The rows of all steps, `batch` a step, with `empty` at the end of each step until
    `size` processes have as many."""
    missing = [empty] * (-batch % size)
    found: list[int] = []
    for start in range(0, len(order), batch):
        found += [*order[start : start + batch], *missing]
    return found


def even(
    examples: list[Example], order: list[int], batch: int, size: int, pad: int
) -> tuple[list[Example], list[int]]:
    """Examples and order of all steps, so that `size` processes have as many rows."""
    if batch % size == 0:
        return examples, order
    packed = any(example.documents for example in examples)
    order = filled(order, batch, size, len(examples))
    return [*examples, nothing(pad, packed=packed)], order


def share(rows: Sequence[Example], among: Ranks, pad: int) -> list[Example]:
    """What this process computes of a step's rows; every process has as many."""
    packed = any(row.documents for row in rows)
    missing = -len(rows) % among.size
    even = [*rows, *([nothing(pad, packed=packed)] * missing)]
    return even[among.rank :: among.size]


class Together:
    """What makes a trainer of transformers one of several.

    `averaged`: the loss of a step is the mean over its passes and processes, not a sum
    that was divided by all tokens of the step.
    """

    ranks: Ranks = ALONE
    averaged = False

    def join(self, ranks: Ranks) -> None:
        """Compute among `ranks` from now on; call it before training."""
        self.ranks = ranks
        if ranks.size > 1:  # not wrapped to add up gradients by itself
            accelerator = self.accelerator  # type: ignore[attr-defined]
            accelerator.prepare_model = partial(
                accelerator.prepare_model, evaluation_mode=True
            )

    def together(self, model: Any, loss: torch.Tensor) -> torch.Tensor:
        """Call it after each pass with its loss; returns what is to be logged. After the
        last pass of a step every process has the gradients of all."""
        if self.ranks.size == 1:
            return loss
        if self.accelerator.sync_gradients:  # type: ignore[attr-defined]
            learning = [p for p in model.parameters() if p.requires_grad]
            self.ranks.add_up(learning)
            if self.averaged:
                for weight in learning:
                    weight.grad /= self.ranks.size
        # What is logged is the mean over the processes.
        return loss if self.averaged else loss * self.ranks.size
