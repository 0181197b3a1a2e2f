"""Weights in parts (FSDP2): every rank holds a part of each and of its optimizer's state.

Before a layer is computed its parts are gathered, afterwards they are dropped; on the way
back the gradients of all ranks are added and each keeps the part of its own weights
(torch.distributed.fsdp.fully_shard). Names stay, tied weights stay one, and what is
written to disk is gathered first: files do not show how many ranks made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from training.families import layer_names

if TYPE_CHECKING:
    from training.head_loss import Context, HeadLoss

Value = TypeVar("Value")


def cut(model: Any, head_loss: HeadLoss, size: int) -> ShardedLoss:
    """Cut every layer, then the rest of the model as one; in place.

    The parts of a layer are dropped after its pass forward and gathered again on the way
    back. Weights that are on another device go to this rank's, a layer at a time.
    """
    for name in layer_names(model):
        fully_shard(model.get_submodule(name))
    fully_shard(model, reshard_after_forward=True)
    return ShardedLoss(model, head_loss, size)


class ShardedLoss:
    """The loss of a pass, in the form of `HeadLoss.backward`.

    Body and head are computed between one gathering of the weights and one backward
    pass, so that the gradients of a pass are added over the ranks once.
    """

    def __init__(self, model: Any, head_loss: HeadLoss, size: int) -> None:
        self.size = size
        self.summed = head_loss.summed
        if not head_loss.whole:  # then it is the model's own forward pass
            model.summed_loss = head_loss.summed
            register_fsdp_forward_method(model, "summed_loss")
            self.summed = model.summed_loss

    def backward(
        self,
        inputs: Mapping[str, Any],
        labels: torch.Tensor,
        tokens: int,
        cast: Context,
    ) -> float:
        """Add the gradients of this rank's summed loss over `tokens`; returns it."""
        with cast():
            loss = self.summed(inputs, labels) / max(1, tokens)
        # What is shared out at the end is the mean over the ranks: the sum is wanted.
        (loss * self.size).backward()
        return loss.item()


def part_of(stored: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Of a whole tensor the part that this rank holds of `like`; the whole where that
    is not in parts."""
    if not isinstance(like, DTensor):
        return stored
    return distribute_tensor(
        stored.to(like.device, like.dtype),
        like.device_mesh,
        like.placements,
        src_data_rank=None,  # every rank has read the same file
    )


def whole(values: Value, *, keep: bool) -> Value:
    """`values` with every tensor in parts gathered, one at a time, on the CPU; empty
    where it is not to `keep`."""
    if isinstance(values, Mapping):
        return {name: whole(value, keep=keep) for name, value in values.items()}
    if isinstance(values, list):
        return [whole(value, keep=keep) for value in values]
    if not isinstance(values, DTensor):
        return values
    gathered = values.detach().full_tensor()
    return gathered.cpu() if keep else gathered.new_empty(0, device="cpu")


def cut_state(optimizer: torch.optim.Optimizer) -> None:
    """Cut whole moments that were just loaded like the weights they belong to."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(weight, DTensor) and value.shape == weight.shape:
                state[name] = part_of(value, weight)


@contextmanager
def logits_of_the_first(model: Any) -> Iterator[None]:
    """Inside, every rank gets the logits that the first one computed."""

    def take(module: Any, arguments: Any, output: Any) -> None:
        torch.distributed.broadcast(output.logits, 0)

    handle = model.register_forward_hook(take)
    try:
        yield
    finally:
        handle.remove()
