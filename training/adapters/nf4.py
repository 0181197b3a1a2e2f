"""NormalFloat of four bits: sixteen values where a normal distribution has its mass.

Dettmers et al. 2023 (QLoRA), appendix E. Blocks of 64 weights share the largest absolute
value, in float32 (no second rounding of these).
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import torch

BLOCK = 64
# The outermost quantile, (1 - 1/32 + 1 - 1/30) / 2, so that both halves are covered alike.
OUTERMOST = 1 - (1 / 32 + 1 / 30) / 2


@lru_cache
def values() -> torch.Tensor:
    """The sixteen values [16], rising from -1 to 1, one of them 0."""
    normal = NormalDist()

    def half(count: int) -> list[float]:
        step = (OUTERMOST - 0.5) / count
        return [normal.inv_cdf(OUTERMOST - step * n) for n in range(count)]

    found = torch.tensor([0.0, *half(8), *(-value for value in half(7))])
    return (found / found.abs().max()).sort().values


def round_to_nf4(weight: torch.Tensor) -> torch.Tensor:
    """The nearest tensor of the same shape that NF4 can hold, in float32."""
    flat = weight.float().flatten()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    largest = blocks.abs().amax(1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
    known = values().to(blocks.device)
    between = (known[1:] + known[:-1]) / 2
    rounded = known[torch.bucketize(blocks / largest, between)] * largest
    return rounded.flatten()[: len(flat)].view(weight.shape)
