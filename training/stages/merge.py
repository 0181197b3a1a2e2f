"""Put the additions into the weights, save, read back, compare.

Reads the adapter and its base from `tune_instructions` (or whichever stage left an
adapter) and the held-out text of `prepare`. Writes

    model/      the merged model: what is chatted with, downloaded and evaluated
    adapter/    the additions alone, with tokenizer and template
    base/       the model that the adapter belongs to (linked, takes no space)

Without an adapter the model is saved again and checked in the same way.
"""

from __future__ import annotations

from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from training import merging
from training.data.rows import read_texts
from training.spec import Merge

if TYPE_CHECKING:
    from training.run import StageContext

HELD_OUT_TEXTS = 8


def run(context: StageContext) -> dict[str, Any]:
    """Merge, save, verify; returns the differences found. Raises ReloadDiffers."""
    settings = cast(Merge, context.settings)
    adapter = context.adapter
    base = adapter_base(adapter, context.model)
    figures = merging.merge_adapter(
        base=base,
        adapter=adapter,
        into=context.folder / "model",
        held_out=held_out_lines(context),
        tolerance=settings.tolerance,
    )
    if adapter is not None:
        merging.link_folder(adapter, context.folder / "adapter")
        merging.link_folder(base, context.folder / "base")
    return figures


def adapter_base(adapter: Path | None, model: Path) -> Path:
    """The model that the adapter belongs to: beside it, else the stage's model."""
    if adapter is not None and (adapter.parent / "base").is_dir():
        return adapter.parent / "base"
    return model


def held_out_lines(context: StageContext) -> list[str]:
    """Held-out text of every role, alternating, to compare logits on."""
    found = []
    for role in ("target", "protected"):
        path = context.prepared / f"{role}-held_out.jsonl"
        if path.is_file():
            found.append(list(islice(read_texts(path), HELD_OUT_TEXTS)))
    return [text for texts in zip_longest(*found) for text in texts if text]
