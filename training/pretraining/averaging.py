"""Checkpoint averaging: the model is the mean of the weights at the last evaluations.

Vaswani et al. 2017; Sanyal et al. 2023 for pretraining. The mean runs along in float32,
one copy of the trained weights, and is kept in the checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch


class Averaging:
    """The mean of `weights` after the last `count` of the steps `due`."""

    def __init__(
        self, weights: Mapping[str, torch.Tensor], count: int, due: Iterable[int]
    ) -> None:
        self.weights = weights
        self.steps = sorted(due)[-count:]
        self.seen = 0
        self.mean: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def after_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Take the weights in; after the last step the weights are the mean."""
        if step not in self.steps:
            return
        self.seen += 1
        for name, weight in self.weights.items():
            now = weight.detach().float()
            if self.seen == 1:
                self.mean[name] = now.clone()
            else:
                self.mean[name] += (now - self.mean[name]) / self.seen
            if step == self.steps[-1]:
                weight.copy_(self.mean[name])

    def kept(self) -> dict[str, torch.Tensor]:
        """What a checkpoint has to hold."""
        return {"seen": torch.tensor(self.seen), **prefixed("mean", self.mean)}

    def restore(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Go back to what `kept` gave."""
        self.seen = int(kept["seen"])
        self.mean = unprefixed("mean", kept, self.weights)


def prefixed(
    prefix: str, tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unprefixed(
    prefix: str, kept: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The tensors under a prefix, where their weights are."""
    return {
        name: kept[f"{prefix}/{name}"].to(weight.device)
        for name, weight in weights.items()
        if f"{prefix}/{name}" in kept
    }
