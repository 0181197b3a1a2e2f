"""Branch-and-merge: copies learn from different parts of the text and become one again.

Alexandrov et al. 2024. A round has several branches; each begins with the round's model
and empty moments, reads its own part of the text and is merged; the merged model begins
the next round. All branches of all rounds together take as many steps as ordinary
training. They run one after the other, so that one copy is in memory with its optimizer
and two more without. The learning rate follows the schedule by rounds: all branches of a
round go through the same part of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from training.merging import arithmetic
from training.pretraining.averaging import prefixed, unprefixed


class Branching:
    """The branches of a run over `weights`; `merge` is linear or slerp.

    Of the weights named in `rows` only these rows (ids) learn and are merged: along an
    arc the others would move too.
    """

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        *,
        branches: int,
        rounds: int,
        total: int,
        merge: str = "linear",
        rows: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.weights, self.branches, self.rounds = weights, branches, rounds
        slerps = merge == "slerp"
        self.merge_two = arithmetic.slerp if slerps else arithmetic.interpolate
        self.rows = rows or {}
        parts = branches * rounds
        self.ends = [total * (number + 1) // parts for number in range(parts)]
        self.start = self._copy()
        self.merged: dict[str, torch.Tensor] = {}

    def schedule_step(self, step: int) -> tuple[int, int]:
        """(step, steps) of the schedule for a step of the run, counted from 0."""
        part = next(n for n, end in enumerate(self.ends) if step < end)
        begins = self.ends[part - 1] if part else 0
        lengths = [e - b for b, e in zip([0, *self.ends], self.ends, strict=False)]
        longest = max(lengths)
        return part // self.branches * longest + step - begins, self.rounds * longest

    def round_end(self, step: int) -> int:
        """The step at or after this one where branches become one model."""
        return next(
            end for end in self.ends[self.branches - 1 :: self.branches] if end >= step
        )

    @torch.no_grad()
    def after_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """At the end of a branch: merge it, and begin the next one."""
        if step not in self.ends:
            return
        part = self.ends.index(step)
        branch = part % self.branches
        for name, weight in self.weights.items():
            if branch == 0:
                self.merged[name] = weight.detach().clone()
            else:
                self.merged[name] = self._merge(name, weight, 1 / (branch + 1))
        if branch == self.branches - 1:
            self.start, self.merged = self.merged, {}
        for name, weight in self.weights.items():
            weight.copy_(self.start[name])
        optimizer.state.clear()

    def _merge(self, name: str, weight: torch.Tensor, share: float) -> torch.Tensor:
        """What is merged so far with a `share` of one branch more."""
        merged, rows = self.merged[name], self.rows.get(name)
        if rows is None:
            return self.merge_two(merged, weight, share)
        return merged.index_copy(
            0, rows, self.merge_two(merged[rows], weight[rows], share)
        )

    def kept(self) -> dict[str, torch.Tensor]:
        """What a checkpoint has to hold."""
        return {**prefixed("start", self.start), **prefixed("merged", self.merged)}

    def restore(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Go back to what `kept` gave."""
        self.start = unprefixed("start", kept, self.weights)
        self.merged = unprefixed("merged", kept, self.weights)

    def _copy(self) -> dict[str, torch.Tensor]:
        return {name: w.detach().clone() for name, w in self.weights.items()}
