"""CONTRACT: what several processes cannot share, and the refusal. Standard library only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.settings.continue_pretraining import ContinuePretraining

# With weights in parts: additions that are ordinary matrices beside the base's, and
# whole weights that learn from the first step to the last.
SHARDED_METHODS = ("full", "lora", "rslora")
SHARDED_TRAINS = ("everything", "body", "embeddings")
# Whatever reads or writes weights beside the step reads whole ones.
WHOLE_WEIGHTS = ("average_last", "forget_every_steps")


def refusal(settings: ContinuePretraining, sharing: str) -> tuple[str, str] | None:
    """(setting, why not and what to do) where several processes cannot do it alike;
    None where they can. `sharing` is replicated or sharded."""
    if settings.trains == "lottery_rows":
        return "trains", (
            "lottery_rows draws its rows in one process; set device.processes to 1"
        )
    if sharing != "sharded":
        return None
    instead = "set device.sharing to replicated, or device.processes to 1"
    if settings.method not in SHARDED_METHODS:
        return "method", f"{settings.method} needs whole weights; {instead}"
    if settings.trains not in SHARDED_TRAINS:
        return "trains", f"{settings.trains} needs whole weights; {instead}"
    if settings.compile == "on":
        return "compile", f"gathers no weights from other processes; {instead}"
    for name in WHOLE_WEIGHTS:
        if getattr(settings, name):
            return name, f"needs whole weights; {instead}"
    if settings.branches > 1:
        return "branches", f"need whole weights; {instead}"
    return None
