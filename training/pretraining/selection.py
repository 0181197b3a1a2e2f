"""Which weights of a model learn: kinds of modules, layers, rows, and who takes turns.

Names follow the model's own: a decoder layer is an item of the model's list of layers,
its modules are attention or feed-forward by the name they hang under.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from training.families import layer_names
from training.settings.continue_pretraining import ROWS
from training.spec import ContinuePretraining

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Names under which the families hang the two halves of a layer.
ATTENTION = frozenset({"self_attn", "attn", "attention"})
FEED_FORWARD = frozenset({"mlp", "feed_forward", "block_sparse_moe", "experts"})
# Choices of `trains` that mean nothing where input and output rows are one matrix, and
# those with which the whole output matrix learns.
ONE_SIDE = (
    "new_input_rows",
    "new_output_rows",
    "output_rows",
    "new_input_and_output_rows",
)
WHOLE_OUTPUT = ("output_rows", "new_input_and_output_rows")


def chosen_layers(count: int, first: float, last: float) -> list[int]:
    """Numbers of the layers chosen from `count`: the `first` and the `last` ones.

    A number below 1 is a share of all layers, rounded, one layer at least. 0 and 0
    chooses all.
    """
    if not first and not last:
        return list(range(count))

    def amount(wanted: float) -> int:
        layers = max(1, round(wanted * count)) if 0 < wanted < 1 else int(wanted)
        return min(count, layers)

    head, tail = amount(first), amount(last)
    return sorted({*range(head), *range(count - tail, count)})


def kind(name: str) -> str:
    """ "attention", "feed_forward" or "other", for the name of a module or weight."""
    parts = set(name.split("."))
    if parts & ATTENTION:
        return "attention"
    return "feed_forward" if parts & FEED_FORWARD else "other"


def is_chosen(
    name: str, layers: list[str], numbers: list[int], modules: str = "all"
) -> bool:
    """Whether a module or weight is in one of the chosen layers and of a chosen kind.

    `layers` are `layer_names`, `numbers` are `chosen_layers`; `modules` is "all" or a
    kind.
    """
    inside = any(name.startswith(layers[number] + ".") for number in numbers)
    return inside and modules in ("all", kind(name))


class Selection:
    """The weights that learn in a run, and which of them at a given step.

    `weights` are all that ever learn, by name. Of some matrices only rows learn: their
    gradients are cleared elsewhere, and as embeddings are never decayed and the clearing
    holds from the first step on, all other rows stay bit for bit. A frozen weight has no
    gradient at all: an optimizer passes over it, moments and decay included.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        always: Iterable[str] | None = None,
        rows: Mapping[str, Sequence[int]] | None = None,
        turns: Callable[[int], set[str]] | None = None,
        may_learn: Iterable[str] = (),
        period: int = 0,
    ) -> None:
        """`always`: names that learn at every step (None: what has a gradient now, as
        with additions). `rows`: ids of the rows that learn, by name. `turns`: names that
        learn in a period beside `always`, of those that `may_learn`, from the number
        of the period of `period` steps.
        """
        parameters = dict(model.named_parameters())
        if always is None:
            always = [n for n, p in parameters.items() if p.requires_grad]
        self.always = {*always, *(rows or {})}
        self.turns, self.period = turns, period
        self.now: set[str] | None = None
        ever = self.always | set(may_learn)
        self.parameters = parameters
        self.weights = {n: p for n, p in parameters.items() if n in ever}
        self.masks = {
            name: _mask(parameters[name], ids) for name, ids in (rows or {}).items()
        }
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in self.weights)

    def begin(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Freeze and free what the period of this step asks for.

        Moments of what is frozen are dropped: they would be of another time when its
        turn comes again, and memory is what some of these methods are chosen for.
        """
        if self.turns is None:
            return
        now = self.always | self.turns(step // self.period)
        if now == self.now:
            return
        self.now = now
        for name, parameter in self.weights.items():
            parameter.requires_grad_(name in now)
            if name not in now:
                parameter.grad = None
                optimizer.state.pop(parameter, None)

    def size(self) -> int:
        """How many numbers ever learn."""
        return sum(
            int(self.masks[name].sum()) * weight.shape[1]
            if name in self.masks
            else weight.numel()
            for name, weight in self.weights.items()
        )

    def rows(self) -> dict[str, torch.Tensor]:
        """Ids of the rows that learn, by the names of matrices that do not learn whole."""
        return {name: mask.nonzero()[:, 0] for name, mask in self.masks.items()}

    def follow(self, model: nn.Module) -> None:
        """Take the model's parameters by name again: they became other objects where
        weights were cut into parts."""
        self.parameters = dict(model.named_parameters())
        self.weights = {name: self.parameters[name] for name in self.weights}

    def free(self) -> None:
        """Everything that ever learns has a gradient again, as before the first step."""
        self.now = None
        for parameter in self.weights.values():
            parameter.requires_grad_(True)

    def clear_gradients(self) -> None:
        """Clear the gradients of rows that do not learn; call before clipping."""
        for name, mask in self.masks.items():
            gradient = self.parameters[name].grad
            if gradient is not None:
                gradient.mul_(mask)


def _mask(parameter: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    """1 for the rows that learn, 0 for the others [rows, 1]."""
    mask = torch.zeros(len(parameter), 1, device=parameter.device)
    mask[list(ids)] = 1
    return mask


def of_settings(
    model: PreTrainedModel,
    settings: ContinuePretraining,
    new_rows: Sequence[int],
    seed: int,
) -> Selection:
    """What learns in full training, by the settings trains, modules, first_layers and
    last_layers; raises SpecInvalid where the model has no such thing."""
    inputs, outputs = _matrices(model)
    matrices = {inputs, outputs}
    trains = settings.trains
    if trains in ROWS:
        rows = _rows(model, settings, new_rows, inputs, outputs)
        whole = {outputs} if trains in WHOLE_OUTPUT else set()
        return Selection(model, always=whole, rows=rows)
    body = [name for name, _ in model.named_parameters() if name not in matrices]
    layers = layer_names(model)
    numbers = chosen_layers(len(layers), settings.first_layers, settings.last_layers)
    inside = [n for n in body if is_chosen(n, layers, numbers, settings.modules)]
    outside = [n for n in body if not n.startswith(tuple(f"{x}." for x in layers))]
    if not inside:
        raise settings.unfit(
            "modules",
            f"this model has no {settings.modules} modules in the chosen layers; choose "
            "all, or other layers",
        )
    if trains == "embeddings":
        return Selection(model, always=matrices)
    if trains == "body":
        restricted = settings.modules != "all" or len(numbers) < len(layers)
        return Selection(model, always=inside if restricted else body)
    always = matrices | set(outside)
    if trains == "everything":
        return Selection(model, always=always | set(inside))
    if trains == "half":
        turns = half(inside, layers, seed)
    else:
        turns = sampled(inside, [layers[n] for n in numbers], settings, seed)
    return Selection(
        model,
        always=always,
        turns=turns,
        may_learn=inside,
        period=settings.period_steps,
    )


def beside_additions(
    model: PreTrainedModel, embeddings: str, new_rows: Sequence[int]
) -> Selection:
    """What has a gradient now, and of the embeddings new_rows, all or none."""
    always = {name for name, p in model.named_parameters() if p.requires_grad}
    matrices = set(_matrices(model))
    if embeddings == "all":
        return Selection(model, always=always | matrices)
    some = embeddings == "new_rows" and new_rows
    rows = {name: new_rows for name in matrices} if some else {}
    return Selection(model, always=always, rows=rows)


def _matrices(model: PreTrainedModel) -> tuple[str, str]:
    """Names of the input and the output matrix; one name twice where they are one."""
    names = {id(values): name for name, values in model.named_parameters()}
    output = model.get_output_embeddings()
    first = names[id(model.get_input_embeddings().weight)]
    return first, names[id(output.weight)] if output is not None else first


def _rows(
    model: PreTrainedModel,
    settings: ContinuePretraining,
    new_rows: Sequence[int],
    inputs: str,
    outputs: str,
) -> dict[str, Sequence[int]]:
    trains = settings.trains
    if inputs == outputs and trains in ONE_SIDE:
        raise settings.unfit(
            "trains",
            f"{trains} needs a model whose input and output rows are two matrices; "
            "in this one they are the same, choose new_rows or embeddings",
        )
    if trains == "output_rows":
        return {}
    if not new_rows:
        raise settings.unfit(
            "trains",
            f"{trains} needs new tokens, and the tokenizer has none; choose embeddings",
        )
    if trains == "new_output_rows":
        return {outputs: new_rows}
    if trains == "new_rows":
        return {inputs: new_rows, outputs: new_rows}
    # new_input_rows, new_input_and_output_rows and lottery_rows.
    return {inputs: new_rows}


def half(names: list[str], layers: list[str], seed: int) -> Callable[[int], set[str]]:
    """Half of the modules of every layer and kind, drawn anew for each period.

    Hui et al. 2024 (HFT). Of an odd number it is the larger or the smaller half, by lot.
    """
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name in names:
        layer = next(x for x in layers if name.startswith(x + "."))
        module = name.rpartition(".")[0]
        groups.setdefault((layer, kind(name)), {}).setdefault(module, []).append(name)

    def turn(period: int) -> set[str]:
        dice = random.Random(f"half {seed} {period}")  # noqa: S311 - no secret
        found: set[str] = set()
        for modules in groups.values():
            count = (len(modules) + dice.randint(0, 1)) // 2
            for module in dice.sample(sorted(modules), count):
                found.update(modules[module])
        return found

    return turn


def sampled(
    names: list[str], layers: list[str], settings: ContinuePretraining, seed: int
) -> Callable[[int], set[str]]:
    """All of a few layers, drawn anew for each period. Pan et al. 2024 (LISA)."""
    count = min(settings.lisa_layers, len(layers))

    def turn(period: int) -> set[str]:
        dice = random.Random(f"lisa {seed} {period}")  # noqa: S311 - no secret
        drawn = tuple(f"{layer}." for layer in dice.sample(layers, count))
        return {name for name in names if name.startswith(drawn)}

    return turn
