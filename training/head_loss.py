"""The loss over a large vocabulary, in chunks of tokens.

The logits of a batch are the largest tensor of a small model with a large vocabulary:
4,096 tokens over 128,000 rows are 2 GB, and their gradient as much again. Here body and
head are computed apart: of the hidden states a chunk at a time goes through the head to
its loss and straight back, so that the logits of one chunk are all there ever is, and
their gradient is written where they lay (Hsu et al. 2024, Liger kernel, do the same
inside one kernel). Only tokens that are learned go through the head at all. Sums are
added in another order and nothing else differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from training.data.packing import IGNORED
from training.self_correction import Revision, change
from training.spec import LOGITS_AT_ONCE

# Rounding of two ways to the same logits, beside the largest of them.
SAME_LOGITS = 1e-4
# Logits that a core of a CPU takes at once to their loss: 1 MB, which its cache holds.
NUMBERS_OF_A_CORE = 2**18

Context = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Targets:
    """What tokens [tokens] are to become; `revision.marked` has their shape."""

    labels: torch.Tensor
    revision: Revision | None = None

    @classmethod
    def of(cls, labels: torch.Tensor, revision: Revision | None) -> Targets:
        """Of labels [rows, positions]. Where nothing is revised there is no revision, and
        the loss is cross-entropy to the last bit."""
        if revision is None or not revision.weight:
            return cls(labels.flatten())
        marked = (revision.marked & (labels != IGNORED)).flatten()
        return cls(labels.flatten(), replace(revision, marked=marked))

    def at(self, places: torch.Tensor) -> Targets:
        """The targets at some places."""
        if self.revision is None:
            return Targets(self.labels[places])
        marked = self.revision.marked[places]
        return Targets(self.labels[places], replace(self.revision, marked=marked))

    def split(self, size: int) -> list[Targets]:
        """In chunks of `size` tokens, as torch splits."""
        places = torch.arange(len(self.labels), device=self.labels.device)
        return [self.at(part) for part in places.split(size)]

    def of_chunk(self, logits: torch.Tensor) -> torch.Tensor:
        """The summed loss of logits [tokens, rows] where all are learned; the logits are
        gone after it."""
        change = self._change(logits)  # before they are
        loss = _of_chunk(logits, self.labels)
        return loss if change is None else loss + change

    def of_whole(self, logits: torch.Tensor) -> torch.Tensor:
        """The summed loss of a model's own logits, which are left as they are."""
        logits = logits.flatten(0, -2)
        loss = cross_entropy(
            logits.float(), self.labels, ignore_index=IGNORED, reduction="sum"
        )
        change = self._change(logits)
        return loss if change is None else loss + change

    def _change(self, logits: torch.Tensor) -> torch.Tensor | None:
        """What revising adds; None where nothing is revised."""
        if self.revision is None:
            return None
        marked = self.revision.marked.nonzero().flatten()
        weight, temperature = self.revision.weight, self.revision.temperature
        # Taken out, so a copy: the way back needs nothing of the logits themselves.
        return change(logits[marked].float(), self.labels[marked], weight, temperature)


class HeadLoss:
    """Body, head and what the family does to logits, found once for a model.

    Where body and head do not give the logits of the model itself, `whole` is true and
    the model's own forward pass is used.
    """

    def __init__(self, model: Any, device: torch.device | None = None) -> None:
        """`device` is where it will compute; None: where the model is."""
        self.model = model
        causal = model.get_base_model() if hasattr(model, "peft_config") else model
        self.causal = causal
        # What gives the hidden states; pretraining may compile it.
        self.body: Callable[..., Any] = causal.base_model
        config = causal.config.get_text_config()
        self.cap = getattr(config, "final_logit_softcapping", None)
        here = next(causal.parameters()).device
        at_once = LOGITS_AT_ONCE[(device or here).type]
        self.tokens = max(1, at_once // config.vocab_size)
        self.whole = not self._agrees(here)

    def backward(
        self,
        inputs: Mapping[str, Any],
        labels: torch.Tensor,
        tokens: int,
        cast: Context,
        revision: Revision | None = None,
    ) -> float:
        """Add the gradients of the summed loss over `tokens`; returns that loss.

        `labels` [rows, positions] stand where they are predicted, IGNORED elsewhere;
        `cast` makes the context of mixed precision; `revision` says which of the labels
        the model itself revises.
        """
        targets = Targets.of(labels, revision)
        if self.whole:
            with cast():
                logits = self.model(**inputs).logits
            loss = targets.of_whole(logits) / max(1, tokens)
            loss.backward()
            return loss.item()
        with cast():
            hidden, targets = self._hidden(inputs, targets)
        leaf = hidden.detach().requires_grad_(hidden.requires_grad)
        total = torch.zeros((), device=hidden.device)
        chunks = (leaf.split(self.tokens), targets.split(self.tokens))
        for part, wanted in zip(*chunks, strict=True):
            with cast():
                logits = self._logits(part)
            loss = wanted.of_chunk(logits) / max(1, tokens)
            del logits  # or they lie beside those of the next chunk
            loss.backward()
            total += loss.detach()
        if leaf.grad is not None:
            hidden.backward(leaf.grad)
        return total.item()

    def summed(
        self,
        inputs: Mapping[str, Any],
        labels: torch.Tensor,
        revision: Revision | None = None,
    ) -> torch.Tensor:
        """The summed loss as a tensor that somebody else goes back from: the logits of a
        chunk are then computed twice."""
        targets = Targets.of(labels, revision)
        if self.whole:
            return targets.of_whole(self.model(**inputs).logits)
        hidden, targets = self._hidden(inputs, targets)

        def loss(part: torch.Tensor, wanted: Targets) -> torch.Tensor:
            return wanted.of_chunk(self._logits(part))

        if len(hidden) <= self.tokens:
            return loss(hidden, targets)
        chunks = (hidden.split(self.tokens), targets.split(self.tokens))
        parts = [
            checkpoint(loss, part, wanted, use_reentrant=False)
            for part, wanted in zip(*chunks, strict=True)
        ]
        return torch.stack(parts).sum()

    def _hidden(
        self, inputs: Mapping[str, Any], targets: Targets
    ) -> tuple[torch.Tensor, Targets]:
        """Hidden states [tokens, width] and targets [tokens] of what is learned."""
        hidden = self.body(**inputs).last_hidden_state.flatten(0, -2)
        learned = (targets.labels != IGNORED).nonzero().flatten()
        if len(learned) < len(targets.labels):
            hidden, targets = hidden.index_select(0, learned), targets.at(learned)
        return hidden, targets

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[tokens, rows], as the family's own forward pass ends."""
        logits = self.causal.get_output_embeddings()(hidden)
        if self.cap is None:
            return logits
        return torch.tanh(logits / self.cap) * self.cap

    @torch.no_grad()
    def _agrees(self, device: torch.device) -> bool:
        """Whether body and head give what the model gives, on a few tokens."""
        if self.causal.base_model is self.causal:
            return False
        training = self.model.training
        self.model.eval()
        ids = torch.arange(4, device=device)[None] % self.causal.config.vocab_size
        whole = self.model(input_ids=ids, use_cache=False).logits[0].float()
        body = self.causal.base_model(input_ids=ids, use_cache=False)
        found = self._logits(body.last_hidden_state)[0].float()
        self.model.train(training)
        if found.shape != whole.shape:
            return False
        return bool((found - whole).abs().max() <= SAME_LOGITS * whole.abs().max())


class _InPlace(torch.autograd.Function):
    """The summed cross entropy of learned tokens, logits [tokens, rows] in float32.

    What it needs for the way back is written over the logits, and the gradient over
    that: nothing else of their size is made. Whoever has kept the logits for a gradient
    of their own is told so by autograd.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = logits.detach()  # the same memory
        total = logits.new_zeros(())
        sums = []
        for part, wanted in _blocks(logits, labels):
            largest = part.amax(1, keepdim=True)
            found = part.gather(1, wanted[:, None])
            part.sub_(largest).exp_()
            sums.append(part.sum(1, keepdim=True))
            total += (sums[-1].log() + largest - found).sum()
        ctx.save_for_backward(logits, torch.cat(sums), labels)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: torch.Tensor) -> tuple[torch.Tensor, None]:
        exponentials, sums, labels = ctx.saved_tensors
        gradient = exponentials.mul_(outer / sums)
        gradient.scatter_add_(1, labels[:, None], -outer.expand(len(labels), 1))
        return gradient, None


def _blocks(
    logits: torch.Tensor, labels: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens that are gone over several times while a CPU's cache holds them."""
    size = max(1, len(logits))
    if logits.device.type == "cpu":
        numbers = NUMBERS_OF_A_CORE * torch.get_num_threads()
        size = max(1, numbers // logits.shape[1])
    return zip(logits.split(size), labels.split(size), strict=True)


def _of_chunk(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The summed loss of tokens that are all learned; the logits are gone after it."""
    return _InPlace.apply(logits.float(), labels)
