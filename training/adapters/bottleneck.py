"""Bottleneck adapters beside the feed-forward layers, exported as wider layers.

The parallel adapter of He et al. 2022: what a feed-forward layer reads is also sent
through a narrow layer, and both results are added. Here the narrow layer is of the
base's own kind, with its activation and its gate. So it is some more neurons of the same
layer, and merging is exact: the weights stand beside each other and the model is an
ordinary one with a larger intermediate size. (A bottleneck after the layer, as in Houlsby
et al. 2019, cannot be merged.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from training.errors import BaseUnsuitable
from training.families import layer_names

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Names in a feed-forward layer: gate (where there is one), up, down, activation.
KINDS = (
    ("gate_proj", "up_proj", "down_proj", "act_fn"),
    ("", "c_fc", "c_proj", "act"),
    ("", "dense_h_to_4h", "dense_4h_to_h", "act"),
)
FILE = "bottleneck.safetensors"
CONFIG = "bottleneck_config.json"


class Bottleneck(nn.Module):
    """A feed-forward layer with `width` neurons of its own kind beside it."""

    def __init__(self, base: nn.Module, width: int) -> None:
        super().__init__()
        self.base, self.names = base, _names(base)
        gate, up, down, act = self.names
        outer = matrix(getattr(base, down)).shape[0]
        self.added_up = _beside(getattr(base, up), width)
        self.added_gate = _beside(getattr(base, gate), width) if gate else None
        self.added_down = nn.Linear(width, outer, bias=False).to(self.added_up.weight)
        nn.init.zeros_(self.added_down.weight)
        self.activation = getattr(base, act)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., hidden size] to the same."""
        inner = self.added_up(hidden)
        if self.added_gate is None:
            inner = self.activation(inner)
        else:
            inner = self.activation(self.added_gate(hidden)) * inner
        return self.base(hidden) + self.added_down(inner)


def _beside(layer: nn.Module, width: int) -> nn.Linear:
    """A linear layer to `width` neurons, as large as the one it stands beside."""
    weight = matrix(layer)
    made = nn.Linear(weight.shape[1], width, bias=layer.bias is not None).to(weight)
    nn.init.normal_(made.weight, std=float(weight.detach().float().std()))
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


def matrix(layer: nn.Module) -> torch.Tensor:
    """The weight of a linear layer [out, in]; GPT-2 keeps it transposed."""
    return layer.weight.T if isinstance(layer, Conv1D) else layer.weight


def _names(layer: nn.Module) -> tuple[str, str, str, str]:
    for names in KINDS:
        if hasattr(layer, names[1]) and hasattr(layer, names[2]):
            return names
    raise BaseUnsuitable(
        "This model's feed-forward layers cannot be given a bottleneck.",
        hint="Choose the method lora.",
    )


def attach(model: PreTrainedModel, width: int, numbers: Sequence[int]) -> None:
    """Freeze the model and put bottlenecks into the layers with these numbers.

    The model computes what it did: the last matrix begins at zero. Raises BaseUnsuitable
    for a mixture of experts.
    """
    model.requires_grad_(False)
    names = layer_names(model)
    for number in numbers:
        layer = model.get_submodule(names[number])
        if not hasattr(layer, "mlp"):
            _names(layer)
        layer.mlp = Bottleneck(layer.mlp, width)


def bottlenecks(model: nn.Module) -> Iterator[tuple[str, Bottleneck]]:
    """Names and modules."""
    for name, module in model.named_modules():
        if isinstance(module, Bottleneck):
            yield name, module


def save(model: PreTrainedModel, into: Path) -> None:
    """Write the bottlenecks alone; `load` puts them on the same base."""
    into.mkdir(parents=True, exist_ok=True)
    found = dict(bottlenecks(model))
    tensors = {
        f"{name}.{key}": value.contiguous()
        for name, module in found.items()
        for key, value in module.state_dict().items()
        if key.startswith("added_")
    }
    save_file(tensors, into / FILE)
    layers = layer_names(model)
    config = {
        "width": next(iter(found.values())).added_down.in_features,
        "layers": [n for n, x in enumerate(layers) if f"{x}.mlp" in found],
    }
    (into / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(model: PreTrainedModel, folder: Path) -> None:
    """Put the bottlenecks of a folder into their base."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    attach(model, config["width"], config["layers"])
    tensors = load_file(folder / FILE)
    found = dict(bottlenecks(model))
    assert {name.rpartition(".added_")[0] for name in tensors} == set(found)
    model.load_state_dict(tensors, strict=False)


@torch.no_grad()
def merge(model: PreTrainedModel) -> PreTrainedModel:
    """The plain model with wider feed-forward layers; those without a bottleneck get
    neurons of zero, as all layers of a model are equally wide."""
    width = next(m.added_down.in_features for _, m in bottlenecks(model))
    for name in layer_names(model):
        layer = model.get_submodule(name)
        added = layer.mlp if isinstance(layer.mlp, Bottleneck) else None
        base = added.base if added else layer.mlp
        gate, up, down, _ = _names(base)
        for place, part in ((up, "added_up"), (gate, "added_gate")):
            if place:
                other = getattr(added, part) if added else None
                setattr(base, place, _wider(getattr(base, place), other, width, 0))
        other = added.added_down if added else None
        setattr(base, down, _wider(getattr(base, down), other, width, 1))
        if hasattr(base, "intermediate_size"):
            base.intermediate_size += width
        layer.mlp = base
    _widen_config(model, matrix(getattr(base, up)).shape[0])
    return model


def _wider(
    layer: nn.Module, other: nn.Linear | None, width: int, dim: int
) -> nn.Module:
    """A layer like `layer` with the weights of `other`, or zeros, behind its own in
    dimension `dim` of [out, in]."""
    weight = matrix(layer)
    shape = list(weight.shape)
    shape[dim] = width
    more = other.weight if other is not None else weight.new_zeros(shape)
    joined = torch.cat([weight, more.to(weight)], dim)
    bias = layer.bias
    if bias is not None and dim == 0:
        more = other.bias if other is not None else bias.new_zeros(width)
        bias = torch.cat([bias, more.to(bias)])
    if isinstance(layer, Conv1D):
        made: Any = Conv1D(*joined.shape)
        made.weight = nn.Parameter(joined.T.contiguous())
    else:
        made = nn.Linear(*joined.T.shape, bias=bias is not None)
        made.weight = nn.Parameter(joined.contiguous())
    if bias is not None:
        made.bias = nn.Parameter(bias.clone())
    return made


def _widen_config(model: PreTrainedModel, neurons: int) -> None:
    config = model.config.get_text_config()
    name = "n_inner" if hasattr(config, "n_inner") else "intermediate_size"
    setattr(config, name, neurons)
