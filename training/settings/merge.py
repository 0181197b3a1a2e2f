"""CONTRACT: settings of the stage merge. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.settings.setting import StageSettings, setting


@dataclass(frozen=True)
class Merge(StageSettings):
    """Put the additions into the weights, save, read back, compare."""

    stage: ClassVar[str] = "merge"

    tolerance: float = setting(
        1e-3,
        "Largest difference of logits",
        "Between the model in memory and the model read back from disk, in float32.",
        low=0.0,
        high=1.0,
    )
