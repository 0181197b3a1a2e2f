"""What one of several processes knows of the others: its share, the sums, what is agreed.

The processes of a job are its ranks. Each reads the whole plan and takes its rows of
every batch; the gradients of all are added before the step, divided by the tokens of the
whole batch, so that any number of ranks takes the step that one would take. Two ways of
sharing the weights:

    replicated   every rank holds the model; gradients are added up once a step
    sharded      every rank holds a part of each weight (FSDP2, training/ranks/sharding.py)

`ALONE` is the one process of an ordinary run: nothing is divided, summed or asked.
Processes, device and most of the talking are accelerate's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from training import compute
from training.errors import Stopped

if TYPE_CHECKING:
    from training.data.packing import Batch
    from training.head_loss import HeadLoss

Value = TypeVar("Value")

# Gradients are added up in pieces of this size: a message has a cost of its own, and so
# has the copy that holds it.
BYTES_OF_A_MESSAGE = 2**26


class Ranks:
    """The place of this process among `size`; 0 is the first, which alone writes."""

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        *,
        sharded: bool = False,
        device: torch.device | None = None,
    ) -> None:
        """`device` is where tensors that are exchanged live; None: nothing is."""
        self.rank, self.size = rank, size
        self.sharded, self.device = sharded, device

    @property
    def first(self) -> bool:
        """Whether this process writes events, checkpoints and the model."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def by_first(self, make: Callable[[], Value]) -> Value:
        """What `make` returns on the first rank, on every rank; Stopped, too, is raised
        on all of them."""
        if self.size == 1:
            return make()
        made: list[Value] = []
        if self.first:
            with suppress(Stopped):
                made.append(make())
        if found := self.from_first(made):
            return found[0]
        raise Stopped

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first rank makes files inside; then the others come and find them."""
        if self.size == 1:
            yield
            return
        from accelerate import PartialState

        with PartialState().main_process_first():
            yield

    # --- Work divided and added up

    def share(self, batch: Batch) -> Batch:
        """The rows of a batch that this rank computes."""
        return batch if self.size == 1 else batch.share(self.rank, self.size)

    def begin_step(self, seed: int, step: int) -> None:
        """What is left to chance in a step (dropout) follows from the run's seed, the
        step and the rank, so that a resumed run draws the same."""
        if self.size > 1:
            compute.seed_everything(hash((seed, step, self.rank)) & 0x7FFFFFFF)

    @torch.no_grad()
    def add_up(self, weights: Iterable[torch.nn.Parameter]) -> None:
        """Give every weight that learns now the sum of its gradients over all ranks.

        Sharded weights have it already. The sum is the same bits on every rank.
        """
        if self.size == 1 or self.sharded:
            return
        learning = [weight for weight in weights if weight.requires_grad]
        for weight in learning:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        for message in messages([weight.grad for weight in learning]):
            flat = torch.cat([gradient.flatten() for gradient in message])
            torch.distributed.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in message])
            for gradient, part in zip(message, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def total(self, number: float) -> float:
        """The sum of a number over all ranks."""
        return self._reduce(number, "sum")

    def largest(self, number: float) -> float:
        """The largest over all ranks: the slowest one's seconds."""
        return self._reduce(number, "max")

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return flag if self.size == 1 else self.total(float(flag)) > 0

    def from_first(self, value: Value) -> Value:
        """The first rank's value (plain types), on every rank."""
        if self.size == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def _reduce(self, number: float, how: str) -> float:
        if self.size == 1:
            return number
        from accelerate.utils import reduce

        values = torch.tensor(number, dtype=torch.float64, device=self.device)
        return reduce(values, how).item()

    # --- Weights in parts

    def cut(self, model: Any, head_loss: HeadLoss) -> Any:
        """Leave this rank its part of every weight, where they are sharded; returns what
        computes the loss from then on. The model's parameters are other objects then.
        """
        if not self.sharded:
            return head_loss
        from training.ranks import sharding

        return sharding.cut(model, head_loss, self.size)

    def whole(self, values: Value) -> Value:
        """Tensors, also in dictionaries and lists, with the parts of all ranks together;
        on other ranks than the first they may stay empty. Call it on every rank."""
        if not self.sharded:
            return values
        from training.ranks import sharding

        return sharding.whole(values, keep=self.first)

    @torch.no_grad()
    def put(
        self, stored: Mapping[str, torch.Tensor], into: Mapping[str, torch.Tensor]
    ) -> None:
        """Copy whole tensors by name into weights, whole or in parts."""
        for name, weight in into.items():
            value = stored[name]
            if self.sharded:
                from training.ranks import sharding

                value = sharding.part_of(value, weight)
            weight.copy_(value)

    def put_state(
        self, stored: dict[str, Any], optimizer: torch.optim.Optimizer
    ) -> None:
        """Load the whole state of an optimizer into one of whole weights or of parts."""
        optimizer.load_state_dict(stored)
        if self.sharded:
            from training.ranks import sharding

            sharding.cut_state(optimizer)

    @contextmanager
    def alike(self, model: Any) -> Iterator[None]:
        """Inside, the logits of the first rank count on all: what is chosen by them is
        the same everywhere, and no rank waits for another that has stopped writing."""
        if not self.sharded:
            yield
            return
        from training.ranks import sharding

        with sharding.logits_of_the_first(model):
            yield


ALONE = Ranks()


def messages(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Tensors of one type in groups of about BYTES_OF_A_MESSAGE, in their order."""
    group: list[torch.Tensor] = []
    size = 0
    for tensor in tensors:
        if group and (size > BYTES_OF_A_MESSAGE or tensor.dtype != group[0].dtype):
            yield group
            group, size = [], 0
        group.append(tensor)
        size += tensor.numel() * tensor.element_size()
    if group:
        yield group
