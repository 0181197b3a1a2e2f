"""CONTRACT: what several processes cannot share, and the refusal. Standard library only."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, cast

from training.errors import SpecInvalid

if TYPE_CHECKING:
    from training.settings.continue_pretraining import ContinuePretraining
    from training.settings.setting import StageSettings
    from training.spec import JobSpec

# What a stage that several processes can do takes in a step, and its name.
BATCHES = {
    "continue_pretraining": ("batch_blocks", "blocks"),
    "tune_instructions": ("batch_examples", "examples"),
    "align_preferences": ("batch_pairs", "pairs"),
}
# Low-rank additions alone learn: every process holds the whole model, and `sharded` is
# for the other stages of the job.
WHOLE_STAGES = ("tune_instructions", "align_preferences")
# The loss of a step is a mean over pairs: every process must have as many.
EVEN_STAGES = ("align_preferences",)
# With weights in parts: additions that are ordinary matrices beside the base's, and
# whole weights that learn from the first step to the last.
SHARDED_METHODS = ("full", "lora", "rslora")
SHARDED_TRAINS = ("everything", "body", "embeddings")
# Of a device's memory: more than this for weights, gradients and moments leaves too
# little for the passes, and the weights are shared out in parts.
SHARE_FOR_WEIGHTS = 0.5
# Bytes for each number that learns (itself, gradient, two moments) or is only there.
LEARNS, IS_THERE = 16, 4
# Whatever reads or writes weights beside the step reads whole ones.
WHOLE_WEIGHTS = ("average_last", "forget_every_steps")


def batch_of(settings: StageSettings) -> int:
    """What a stage takes in a step; 1 where a stage is done by one process."""
    name, _ = BATCHES.get(settings.stage, ("", ""))
    return getattr(settings, name, 1)


def most_processes(settings: StageSettings, gpus: int) -> int:
    """Of so many GPUs those that a stage can use, one process on each."""
    batch = batch_of(settings)
    counts = range(min(gpus, batch), 1, -1)
    even = settings.stage in EVEN_STAGES
    return next((n for n in counts if not even or batch % n == 0), 1)


def share_of_one(settings: StageSettings, gpus: int) -> StageSettings:
    """A stage with the batch that each process computes of it on so many GPUs."""
    if settings.stage not in BATCHES:
        return settings
    size = most_processes(settings, gpus)
    part = math.ceil(batch_of(settings) / size)
    values: dict[str, Any] = {BATCHES[settings.stage][0]: part}
    return dataclasses.replace(settings, **values)


def fills_a_device(settings: StageSettings, numbers: int, memory_bytes: float) -> bool:
    """Whether a GPU would have too little room beside weights and optimizer of a model of
    so many numbers."""
    full = getattr(settings, "method", "") == "full"
    full = full and getattr(settings, "trains", "") == "everything"
    needed = numbers * (LEARNS if full else IS_THERE)
    return needed > SHARE_FOR_WEIGHTS * memory_bytes


def in_parts(
    settings: StageSettings, sharing: str, numbers: int, memory_bytes: float
) -> bool:
    """Whether each of several GPUs of `memory_bytes` holds a part of every weight in a
    stage, as training/ranks/start.py decides it."""
    if settings.stage in WHOLE_STAGES or settings.stage not in BATCHES:
        return False
    if sharing != "auto":
        return sharing == "sharded"
    return (
        memory_bytes > 0
        and refusal(settings, "sharded") is None
        and fills_a_device(settings, numbers, memory_bytes)
    )


def check(spec: JobSpec) -> None:
    """Raise SpecInvalid where a stage of the job cannot be done by the processes that the
    job asks for, before the first of them begins."""
    for settings in spec.stages:
        if settings.stage in BATCHES and spec.device.processes > 1:
            refuse(settings, spec.device.processes, spec.device.sharing)


def refuse(settings: StageSettings, size: int, sharing: str) -> None:
    """Raise SpecInvalid where `size` processes cannot do a stage."""
    batch, (_, things) = batch_of(settings), BATCHES[settings.stage]
    if size > batch or (settings.stage in EVEN_STAGES and batch % size):
        most = most_processes(settings, size)
        raise SpecInvalid(
            "device.processes",
            f"A batch of {batch} {things} ({settings.stage}) cannot be divided among "
            f"{size} processes; choose at most {most} (device.processes), or a larger "
            "batch.",
        )
    reason = refusal(settings, sharing)
    if reason is not None:
        raise settings.unfit(*reason)


def refusal(settings: StageSettings, sharing: str) -> tuple[str, str] | None:
    """(setting, why not and what to do) where several processes cannot do it alike;
    None where they can. `sharing` is replicated or sharded; auto takes what can be."""
    if settings.stage in WHOLE_STAGES:
        return None
    return _of_pretraining(cast("ContinuePretraining", settings), sharing)


def _of_pretraining(
    settings: ContinuePretraining, sharing: str
) -> tuple[str, str] | None:
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
