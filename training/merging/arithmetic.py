"""Arithmetic of weights: what to make of one tensor in several models.

All functions take float32 tensors of one shape and give a new one; `base` is the common
ancestor. Sources are named at each function. P19: merging a model with itself gives the
model, weights of 0 and 1 give the ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Tensor = torch.Tensor
# Beyond this cosine between two tensors the arc is taken for a line, as in mergekit; their
# weights differ by at most one part in six thousand there.
STRAIGHT = 0.9995


def interpolate(base: Tensor, other: Tensor, weight: float) -> Tensor:
    """base + weight (other - base); 0 gives base and 1 gives other, bit for bit."""
    return torch.lerp(base, other, weight) if weight != 1 else other.clone()


def add_difference(
    own: Tensor, base: Tensor, tuned: Tensor, weight: float, rank: int = 0
) -> Tensor:
    """own + weight (tuned - base): chat vector (Huang et al. 2023), RE-Adapt (2024).

    With a `rank` only that many main directions of a matrix' difference are added
    (LoRE-Adapt); vectors are added whole.
    """
    difference = tuned - base
    if rank and difference.dim() == 2 and rank < min(difference.shape):
        u, s, v = torch.linalg.svd(difference, full_matrices=False)
        difference = (u[:, :rank] * s[:rank]) @ v[:rank]
    return own + weight * difference


def linear(tensors: Sequence[Tensor], weight: float) -> Tensor:
    """The first with a share of `weight`, the others with equal parts of the rest."""
    rest = (1 - weight) / max(1, len(tensors) - 1)
    total = tensors[0] * (weight if len(tensors) > 1 else 1.0)
    for tensor in tensors[1:]:
        total = total + rest * tensor
    return total


def slerp(one: Tensor, other: Tensor, share: float) -> Tensor:
    """`one` with a share of `other`, by the weights of the arc between them.

    Shoemake 1985. Tensors of any shape, taken as one vector each; in float64. The
    weights follow from the angle and are given to the tensors as they are, as mergekit
    does: where both have one length, it is kept.
    """
    a, b = one.double().flatten(), other.double().flatten()
    long_a, long_b = a.norm(), b.norm()
    if not long_a or not long_b:
        return interpolate(one, other, share)
    cosine = torch.dot(a / long_a, b / long_b).clamp(-1, 1)
    if cosine.abs() > STRAIGHT:
        return interpolate(one, other, share)
    angle = torch.acos(cosine)
    mixed = torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b
    return (mixed / torch.sin(angle)).to(one.dtype).view(one.shape)


def trim(difference: Tensor, density: float) -> Tensor:
    """The largest `density` of the values by size, the others 0 (TIES, step 1)."""
    kept = max(1, int(density * difference.numel()))
    if kept >= difference.numel():
        return difference
    sizes = difference.abs().flatten()
    least = sizes.kthvalue(sizes.numel() - kept + 1).values
    return torch.where(difference.abs() >= least, difference, 0.0)


def drop(difference: Tensor, density: float, dice: torch.Generator) -> Tensor:
    """Each value kept with the chance `density` and divided by it (DARE)."""
    kept = torch.rand(difference.shape, generator=dice) < density
    return torch.where(kept, difference / density, 0.0)


def elect(differences: Sequence[Tensor]) -> Tensor:
    """The mean of those values whose sign has the larger sum (TIES, steps 2 and 3)."""
    stacked = torch.stack(list(differences))
    sign = stacked.sum(dim=0).sign()
    agreeing = (stacked.sign() == sign) & (stacked != 0)
    count = agreeing.sum(dim=0).clamp_min(1)
    return torch.where(agreeing, stacked, 0.0).sum(dim=0) / count


def ties(
    base: Tensor,
    tensors: Sequence[Tensor],
    weight: float,
    density: float,
    dice: torch.Generator | None = None,
) -> Tensor:
    """base + weight times the elected differences (Yadav et al. 2023).

    They are trimmed by size or, with `dice`, dropped by chance (DARE-TIES).
    """
    thin: Callable[[Tensor], Tensor] = (
        (lambda d: trim(d, density))
        if dice is None
        else lambda d: drop(d, density, dice)
    )
    return base + weight * elect([thin(tensor - base) for tensor in tensors])


def dare(
    base: Tensor,
    tensors: Sequence[Tensor],
    weight: float,
    density: float,
    dice: torch.Generator,
) -> Tensor:
    """base + weight times the mean of the thinned differences (Yu et al. 2023)."""
    thinned = [drop(tensor - base, density, dice) for tensor in tensors]
    return base + weight * torch.stack(thinned).mean(dim=0)


def projection(base: Tensor, tuned: Tensor) -> Tensor:
    """The matrix P with base P = tuned in the sense of least squares, in float64.

    `base` and `tuned` are [rows, width]; P is [width, width], the identity where both are
    equal. What is sought is P less the identity: directions that no row of `base` has
    stay as they are. Learned embedding propagation, Tikhomirov and Chernyshev 2024.
    """
    before = base.double()
    moved = tuned.double() - before
    away = torch.linalg.lstsq(before, moved, driver="gelsd").solution
    return torch.eye(len(away), dtype=away.dtype, device=away.device) + away
