"""Active forgetting: rows of the embeddings go back to their first values now and then.

Chen et al. 2023. The body learns not to lean on any particular rows. Here the rows go
back to where the stage found them, with empty moments; after the last reset they have
time to learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch


class Forgetting:
    """Resets `rows` (ids; None for all) of `matrices` every `every` steps.

    The last reset is not after `until` of the `total` steps. The first values are those
    of now: make it before a checkpoint is loaded.
    """

    def __init__(
        self,
        matrices: Sequence[torch.nn.Parameter],
        rows: Sequence[int] | None,
        *,
        every: int,
        until: float,
        total: int,
    ) -> None:
        self.every, self.last = every, min(int(until * total), total - 1)
        self.matrices = list({id(matrix): matrix for matrix in matrices}.values())
        self.rows = [
            torch.arange(len(matrix)) if rows is None else torch.tensor(list(rows))
            for matrix in self.matrices
        ]
        self.first = [
            matrix.detach()[ids.to(matrix.device)].clone()
            for matrix, ids in zip(self.matrices, self.rows, strict=True)
        ]

    @property
    def times(self) -> int:
        """How often rows go back in the whole run."""
        return max(0, self.last) // self.every

    @torch.no_grad()
    def after_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Reset rows and their moments where it is time to."""
        if step % self.every or step > self.last:
            return
        for matrix, ids, first in zip(
            self.matrices, self.rows, self.first, strict=True
        ):
            ids = ids.to(matrix.device)
            matrix[ids] = first
            for value in optimizer.state.get(matrix, {}).values():
                if value.shape == matrix.shape:
                    value[ids] = 0

    def kept(self) -> dict[str, torch.Tensor]:
        """Nothing: the first values follow from the model of the stage."""
        return {}

    def restore(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Nothing to go back to."""
