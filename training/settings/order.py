"""CONTRACT: which stage may follow which. Standard library only.

Refused before any work, for hours may lie between two stages.
"""

from __future__ import annotations

from collections.abc import Sequence

from training.errors import SpecInvalid
from training.settings.setting import StageSettings

# Stages that read nothing of what `prepare` divides.
WITHOUT_PREPARE = ("prepare", "merge_models")
# Stages that leave additions beside the model, and those that read the model alone.
LEAVE_ADDITIONS = ("tune_instructions", "align_preferences")
READ_THE_MODEL = (
    "extend_vocabulary",
    "distil_embeddings",
    "continue_pretraining",
    "merge_models",
    "evaluate",
)
# Additions of these methods are put into the weights by the stage itself.
MERGED_BY_THE_STAGE = ("qlora", "loftq")


def check_order(stages: Sequence[StageSettings]) -> None:
    """Raise SpecInvalid where a stage would lack what it reads, or would go on from a
    model without the additions that were learned before."""
    if not stages:
        raise SpecInvalid("stages", "The job has no stages: name at least one.")
    prepared, loose, wider = False, "", False
    for settings in stages:
        name = settings.stage
        if not prepared and name not in WITHOUT_PREPARE:
            raise SpecInvalid(
                "stages",
                f"The stage {name} needs the divided text; put prepare before it.",
            )
        if loose and name in READ_THE_MODEL:
            raise SpecInvalid(
                "stages",
                f"The stage {name} would go on without what {loose} has learned; put "
                "merge between them.",
            )
        if wider and name == "merge_models":
            raise SpecInvalid(
                "stages",
                "The stage merge_models needs models of one shape, and the bottlenecks of "
                "continue_pretraining make the feed-forward layers wider; let "
                "it learn with lora or full instead.",
            )
        wider = wider or getattr(settings, "method", "") == "bottleneck"
        prepared = prepared or name == "prepare"
        if _leaves_additions(settings):
            loose = name
        elif name == "merge":
            loose = ""


def _leaves_additions(settings: StageSettings) -> bool:
    if settings.stage not in LEAVE_ADDITIONS:
        return False
    return getattr(settings, "method", "") not in MERGED_BY_THE_STAGE
