"""A model of which nothing learns but the rows of some tokens.

The rows live beside the model and are put in place as it reads: the matrices themselves
never change, so that no optimizer, weight decay or rounding can move an old row, and the
optimizer holds as much as the new rows are, not the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from training.merging import is_tied

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrainableRows:
    """Rows of a model by id, float32 [ids, width], in use until `write` is called.

    `parameters` by name: `input`, and `output` where the head has a matrix of its own.
    With `head_alone` the logits teach the head's rows and nothing below it.
    """

    def __init__(
        self, model: PreTrainedModel, ids: Sequence[int], *, head_alone: bool = False
    ) -> None:
        model.requires_grad_(False)
        self.embeddings = model.get_input_embeddings()
        self.head = model.get_output_embeddings()
        self.tied = is_tied(model)
        self.head_alone = head_alone
        weight = self.embeddings.weight
        self.ids = torch.tensor(list(ids), device=weight.device)
        self.place = torch.full((weight.shape[0],), -1, device=weight.device)
        self.place[self.ids] = torch.arange(len(self.ids), device=weight.device)
        self.parameters = {"input": self._copy(weight)}
        if self.head is not None and not self.tied:
            self.parameters["output"] = self._copy(self.head.weight)
        self.hooks = [self.embeddings.register_forward_hook(self._embed)]
        if self.head is not None:
            self.hooks.append(self.head.register_forward_hook(self._score))

    @torch.no_grad()
    def write(self) -> None:
        """Put the rows into the matrices, in their type, and leave the model alone."""
        for hook in self.hooks:
            hook.remove()
        self.embeddings.weight[self.ids] = self._as(self.embeddings, "input")
        if "output" in self.parameters:
            self.head.weight[self.ids] = self._as(self.head, "output")

    def _copy(self, weight: torch.Tensor) -> torch.nn.Parameter:
        return torch.nn.Parameter(weight[self.ids].detach().float().clone())

    def _as(self, module: torch.nn.Module, name: str) -> torch.Tensor:
        return self.parameters[name].to(module.weight.dtype)

    def _embed(
        self, module: torch.nn.Module, inputs: Any, output: torch.Tensor
    ) -> torch.Tensor:
        """The module's vectors, those of the new tokens from `input`."""
        place = self.place[inputs[0]]
        rows = functional.embedding(place.clamp(min=0), self.parameters["input"])
        # Gemma multiplies what it has looked up.
        rows = rows * getattr(module, "embed_scale", 1.0)
        return torch.where((place >= 0)[..., None], rows.to(output.dtype), output)

    def _score(
        self, module: torch.nn.Module, inputs: Any, output: torch.Tensor
    ) -> torch.Tensor:
        """The module's logits, those of the new tokens from the rows that learn."""
        states = inputs[0]
        if self.head_alone:
            states, output = states.detach(), output.detach()
        rows = self.parameters.get("output", self.parameters["input"])
        bias = getattr(module, "bias", None)
        new = functional.linear(
            states, rows.to(states.dtype), None if bias is None else bias[self.ids]
        )
        return output.index_copy(-1, self.ids, new.to(output.dtype))
