"""Noise with the mean and spread of each column of the old rows, from its own seed.

The baseline of every paper; it beats the mean at step 0 on tiny models only, because
small random rows take little probability.
"""

from __future__ import annotations

import torch

from training.embeddings.request import OldRows, Request, Rows


@torch.no_grad()
def rows(request: Request, old: OldRows) -> Rows:
    """Normal rows for every matrix."""
    generator = torch.Generator().manual_seed(request.seed)
    count = len(request.tokens)

    def noise(matrix: torch.Tensor | None) -> torch.Tensor | None:
        if matrix is None:
            return None
        known = matrix[old.used].float().cpu()
        mean, spread = known.mean(dim=0), known.std(dim=0)
        drawn = torch.randn(count, *mean.shape, generator=generator)
        return mean + spread * drawn

    made = noise(old.input)
    assert made is not None
    return Rows(made, noise(old.output), noise(old.bias), count)
