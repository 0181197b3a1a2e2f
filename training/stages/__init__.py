"""The stages, by name. To add one: settings in `training/settings/`, a module here with a
function `run(context)`, and a line in MODULES.

Modules are imported when their stage begins: naming a stage imports no ML library.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

MODULES = {
    "prepare": "training.stages.prepare",
    "extend_vocabulary": "training.stages.extend_vocabulary",
    "distil_embeddings": "training.stages.distil_embeddings",
    "continue_pretraining": "training.stages.continue_pretraining",
    "tune_instructions": "training.stages.tune_instructions",
    "align_preferences": "training.stages.align_preferences",
    "merge_models": "training.stages.merge_models",
    "merge": "training.stages.merge",
    "evaluate": "training.stages.evaluate",
}


def stage_function(name: str) -> Callable[..., dict[str, Any]]:
    """The function that runs a stage: takes a StageContext, returns figures."""
    return importlib.import_module(MODULES[name]).run


def share_function(name: str) -> Callable[..., dict[str, Any]]:
    """The function that does one process's part of a stage that several can do: takes a
    StageContext and training.ranks.Ranks, returns figures on the first of them."""
    return importlib.import_module(MODULES[name]).train
