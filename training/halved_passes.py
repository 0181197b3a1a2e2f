"""Full memory where a pass cannot be made smaller on the way.

The trainers of preferences take means over the pairs of a pass, and where a model lies in
parts among processes the others wait in the middle of the same pass. Such a stage ends
with its last checkpoint and begins again from there; a forward pass then takes half as
many rows, and a step learns from the same batch. All others make their passes smaller at
once (training/micro_batches.py).
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training import freed_memory, manifest
from training.errors import OutOfMemory, TrainingError

if TYPE_CHECKING:
    from training.run import StageContext

FILE = "halved_passes.json"


def rows(work: Path, wanted: int, *, first: bool) -> int:
    """Rows that a pass takes where `wanted` would be usual, at least one; the `first` of
    several processes keeps the number in the stage's work folder."""
    path = work / FILE
    halvings = _read(path).get("halvings", 0)
    taken = max(1, wanted >> halvings)
    if first:
        manifest.write_json(path, {"rows": taken, "halvings": halvings})
    return taken


def until_it_fits(context: StageContext, learn: Callable[[], dict[str, Any]]) -> Any:
    """`learn()`, again with passes of half the rows as long as memory is full.

    Raises OutOfMemory where one row does not fit, or where the stage has made its passes
    as small as can be itself (and so never asked for `rows`).
    """
    while True:
        try:
            return learn()
        except TrainingError as problem:
            if problem.code != OutOfMemory.code or not _halve(context):
                raise
        # Outside of the except clause: what the failed attempt held is free.
        gc.collect()
        freed_memory.give_back()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _halve(context: StageContext) -> bool:
    """Keep and say that passes have half the rows from now on; False where they cannot."""
    path = context.work / FILE
    before = _read(path)
    if before.get("rows", 1) < 2:
        return False
    manifest.write_json(path, before | {"halvings": before["halvings"] + 1})
    context.events.note(
        "The memory was full. The stage goes on from its last checkpoint with at most "
        f"{before['rows'] // 2} rows of the batch at once instead of {before['rows']}; a "
        "step still learns from the whole batch, it only takes a little longer.",
        level="warning",
    )
    return True


def _read(path: Path) -> dict[str, int]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
