"""New rows in a low-rank factorisation of the old matrix.

The old rows E (V, d) are about F P: coordinates F (V, k) in the k strongest directions P
(k, d), from the singular value decomposition. A new token's coordinates are the mean of
its pieces'; one without pieces gets coordinates with the mean and spread of the old ones.
After "UNKs everywhere" (Pfeiffer et al. 2021, arXiv 2012.15562), where scripts without
pieces are learned in such coordinates, and OFA. The old rows stay as they are, and the
factorisation is not kept for training. At full rank this is the mean of the pieces.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from training.embeddings.mean import weigh
from training.embeddings.request import (
    OldRows,
    Request,
    Rows,
    from_mixtures,
    in_double,
)

ENERGY = 0.9


@torch.no_grad()
def rows(request: Request, old: OldRows) -> Rows:
    """Means of the pieces within the strongest directions."""
    made = from_mixtures(request, old, weigh(request))
    bare = [at for at, token in enumerate(request.tokens) if not token.base_ids]
    generator = torch.Generator().manual_seed(request.seed)

    def low(values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        basis = directions(matrix, old.used, request.rank)
        coordinates = values @ basis
        if bare:
            known = torch.cat([part @ basis for part in in_double(matrix, old.used)])
            drawn = torch.randn(
                len(bare), basis.shape[1], dtype=torch.float64, generator=generator
            )
            coordinates[bare] = known.mean(dim=0) + known.std(dim=0) * drawn
        return coordinates @ basis.T

    return within(low, made, old)


def within(
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    made: Rows,
    old: OldRows,
) -> Rows:
    """The rows changed by a function of (new rows, old matrix); the bias as it is."""
    output = made.output
    if output is not None and old.output is not None:
        output = change(output, old.output)
    return Rows(change(made.input, old.input), output, made.bias, made.covered)


def projected(request: Request, made: Rows, old: OldRows) -> Rows:
    """The rows in the strongest directions of the old ones."""

    def low(values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        basis = directions(matrix, old.used, request.rank)
        return (values @ basis) @ basis.T

    return within(low, made, old)


@torch.no_grad()
def directions(matrix: torch.Tensor, used: torch.Tensor, rank: int) -> torch.Tensor:
    """An orthonormal basis (d, k), float64, of the strongest directions of the rows in
    use of a matrix (V, d).

    `rank` 0: as many as hold nine tenths of the sum of squares.
    """
    width = matrix.shape[1]
    squares = torch.zeros(width, width, dtype=torch.float64)
    for part in in_double(matrix, used):
        squares += part.T @ part
    strength, basis = torch.linalg.eigh(squares)
    strength, basis = strength.flip(0).clamp(min=0), basis.flip(1)
    if not rank:
        held = strength.cumsum(0) / strength.sum()
        rank = int((held < ENERGY).sum()) + 1
    return basis[:, :rank]
