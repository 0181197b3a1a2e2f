"""Add and mix the weights of several models that grew from one base.

Starts from the job's newest model ("own"; an adapter before it must be merged first).
Bodies are merged tensor by tensor in float32; rows of tokens that all models have are
merged like the body, wherever they stand; rows that only the own model has stay, or go
along with what tuning did to the others (chat_vector, re_adapt, lep: `carried`). What
makes a chat comes with the instruct sibling: markers with their rows, template,
generation settings. Writes

    model/     the merged model, read back and compared

Methods and sources: training/merging/arithmetic.py.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from training import merging
from training.data.rows import read_texts
from training.errors import BaseUnsuitable
from training.merging import arithmetic, relatives
from training.merging.relatives import Relative
from training.spec import MergeModels
from training.templates import set_up

if TYPE_CHECKING:
    from training.run import StageContext

SIBLING = ("chat_vector", "re_adapt", "lep")
COMPARED_TEXTS = 8


def run(context: StageContext) -> dict[str, Any]:
    """Merge, save, read back; returns figures.

    Raises BaseUnsuitable, TokenizerMismatch, ReloadDiffers.
    """
    settings = cast(MergeModels, context.settings)
    if context.adapter is not None:
        raise BaseUnsuitable(
            "Models cannot be merged while the job's model has an adapter beside it.",
            hint="Put the stage merge before merge_models in the recipe.",
        )
    stored = merging.stored_dtype(context.model)
    own = relatives.open_relative(context.model, torch.float32)
    base = relatives.open_relative(ancestor(context))
    others = [relatives.open_relative(folder) for folder in companions(context)]
    for other in (base, *others):
        relatives.check_related(own, other)
    moved = merge(settings, own, base, others, context.spec.seed)
    if not moved["relative_change"]:
        context.events.note(
            f"Merging changed next to nothing: {settings.method} with the weight "
            f"{settings.weight:g} gives the job's own model.",
            level="warning",
        )
    if settings.method in SIBLING:
        moved["markers"] = take_chat(own, others[0])
    folder = context.folder / "model"
    return {**moved, **save(context, own, stored, folder, settings.tolerance)}


def ancestor(context: StageContext) -> Path:
    """The model that all grew from: the job's base.

    A job that only goes part of the way back starts from the adapted model; it names
    the model to go back to.
    """
    settings = cast(MergeModels, context.settings)
    named = context.spec.resources.models
    if settings.method == "interpolate" and named:
        return Path(named[0])
    if settings.method == "interpolate" and context.model == Path(context.spec.base):
        raise BaseUnsuitable(
            "There is nothing to go back to: the job's model is its base.",
            hint="Name the model that it grew from.",
        )
    return Path(context.spec.base)


def companions(context: StageContext) -> list[Path]:
    """Folders of the other models that the method needs."""
    settings = cast(MergeModels, context.settings)
    resources = context.spec.resources
    if settings.method in SIBLING:
        return [Path(resources.instruct)]
    if settings.method == "interpolate":
        return []
    folders = [Path(folder) for folder in resources.models]
    if settings.method == "slerp" and len(folders) != 1:
        raise BaseUnsuitable(
            f"slerp mixes two models, and the job names {len(folders) + 1}.",
            hint="Name one model to merge with, or choose linear or ties.",
        )
    return folders


@torch.no_grad()
def merge(
    settings: MergeModels,
    own: Relative,
    base: Relative,
    others: list[Relative],
    seed: int,
) -> dict[str, Any]:
    """Merge every tensor into `own`, in place; returns how far its weights moved."""
    dice = torch.Generator().manual_seed(seed)
    index, elsewhere = relatives.shared_rows(own, base, *others)
    squares = moved = 0.0
    for name, tensor in own.tensors.items():
        before = tensor.clone()
        if name not in own.rows:
            models = [m.tensor(name) for m in (base, *others)]
            tensor.copy_(merged(settings, tensor, models[0], models[1:], dice))
        else:
            rows = [
                m.tensor(name)[at]
                for m, at in zip((base, *others), elsewhere, strict=True)
            ]
            if settings.method in SIBLING and len(index) < len(own.ids):
                tensor.copy_(carried(settings, own, base, others[0], name))
            tensor[index] = merged(settings, before[index], rows[0], rows[1:], dice)
        squares += before.double().square().sum().item()
        moved += (tensor - before).double().square().sum().item()
    return {
        "method": settings.method,
        "models": 1 + len(others),
        "shared_tokens": len(index),
        "own_tokens": len(own.ids) - len(index),
        "relative_change": round((moved / squares) ** 0.5, 6) if squares else 0.0,
    }


def merged(
    settings: MergeModels,
    own: torch.Tensor,
    base: torch.Tensor,
    others: list[torch.Tensor],
    dice: torch.Generator,
) -> torch.Tensor:
    """One tensor of the merged model."""
    weight, density = settings.weight, settings.density
    match settings.method:
        case "interpolate":
            return arithmetic.interpolate(base, own, weight)
        case "chat_vector" | "re_adapt":
            rank = settings.rank
            return arithmetic.add_difference(own, base, others[0], weight, rank)
        case "lep":
            return arithmetic.add_difference(others[0], base, own, weight)
        case "linear":
            return arithmetic.linear([own, *others], weight)
        case "slerp":
            return arithmetic.slerp(own, others[0], 1 - weight)
        case "ties":
            return arithmetic.ties(base, [own, *others], weight, density)
        case "dare_ties":
            return arithmetic.ties(base, [own, *others], weight, density, dice)
        case _:
            return arithmetic.dare(base, [own, *others], weight, density, dice)


def carried(
    settings: MergeModels, own: Relative, base: Relative, instruct: Relative, name: str
) -> torch.Tensor:
    """The own rows, new ones too, where tuning has moved the old ones: `weight` of the way
    as the body goes, for lep, which takes the sibling's body, all of it."""
    across = propagated(own, base, instruct, name)
    if settings.method == "lep":
        return across
    return arithmetic.interpolate(own.tensor(name), across, settings.weight)


def propagated(
    own: Relative, base: Relative, instruct: Relative, name: str
) -> torch.Tensor:
    """The own rows carried over into the sibling's space (LEP), [rows, width].

    Both old matrices are put into the own vocabulary by the mean of the pieces; the map
    between them is what tuning did to the rows.
    """
    rows = own.tensor(name)
    if rows.dim() != 2:  # the bias of a head
        return rows
    used = torch.tensor(sorted(own.ids.values()))
    before = relatives.rows_as_means(own, base, name)[used]
    after = relatives.rows_as_means(own, instruct, name)[used]
    across = arithmetic.projection(before, after)
    return (rows.double() @ across).float()


@torch.no_grad()
def take_chat(own: Relative, instruct: Relative) -> int:
    """Markers with their rows, template and generation settings of the sibling.

    Returns how many marker rows were taken. Markers that the own tokenizer lacks are
    added to it on new rows.
    """
    if not instruct.tokenizer.chat_template:
        raise BaseUnsuitable(
            f"The sibling {instruct.folder.name} has no chat template: nobody taught it "
            "to answer.",
            hint="Name the instruction-tuned sibling of the base.",
        )
    markers = {
        token.content: id_
        for id_, token in instruct.tokenizer.added_tokens_decoder.items()
    }
    lacking = [token for token in markers if token not in own.ids]
    if lacking:
        own.tokenizer.add_special_tokens(
            {"extra_special_tokens": lacking}, replace_extra_special_tokens=False
        )
    highest = max(own.tokenizer.get_vocab().values())
    if highest >= own.model.get_input_embeddings().weight.shape[0]:
        own.model.resize_token_embeddings(highest + 1, mean_resizing=False)
    tensors = dict(own.model.named_parameters())
    for name in own.rows:
        source = instruct.tensor(name)
        for token, id_ in markers.items():
            row = own.tokenizer.convert_tokens_to_ids(token)
            tensors[name].data[row] = source[id_]
    own.tokenizer.chat_template = instruct.tokenizer.chat_template
    set_up(own.tokenizer)
    own.model.generation_config = instruct.model.generation_config
    ends = instruct.model.generation_config.eos_token_id
    names = instruct.tokenizer.convert_ids_to_tokens(
        ends if isinstance(ends, list) else [ends] if ends is not None else []
    )
    if names:
        ids = [own.tokenizer.convert_tokens_to_ids(name) for name in names]
        own.model.generation_config.eos_token_id = ids if len(ids) > 1 else ids[0]
    return len(markers)


def save(
    context: StageContext,
    own: Relative,
    stored: torch.dtype,
    folder: Path,
    tolerance: float,
) -> dict[str, float]:
    """Write the model in its stored type, read it back, compare on held-out text."""
    texts = held_out(context)
    ids = merging.encode(own.tokenizer, texts)
    exact = merging.measure(own.model, ids)
    rounded = merging.cast_weights(own.model, stored)
    expected = merging.measure(merging.cast_weights(rounded, torch.float32), ids)
    merging.save_model(
        merging.cast_weights(rounded, stored), own.tokenizer, folder, context.model
    )
    return {
        "rounding_difference": merging.largest_difference(
            exact.logits, expected.logits
        ),
        "reload_difference": merging.verify_folder(
            folder, own.tokenizer, texts, expected, tolerance=tolerance
        ),
    }


def held_out(context: StageContext) -> list[str]:
    """Some held-out text; neutral text where the job has none."""
    path = context.finished.get("prepare", context.folder) / "target-held_out.jsonl"
    found = list(islice(read_texts(path), COMPARED_TEXTS)) if path.is_file() else []
    return [text[:400] for text in found] or list(merging.NEUTRAL_TEXTS)
