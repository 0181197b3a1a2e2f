"""How long, how much memory, how much disk: estimates before anything is spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from training.spec import StageSettings
from webapp.jobs.planning import constants as c
from webapp.jobs.planning import examples, memory
from webapp.jobs.planning.situation import Situation


def tokens_per_second(situation: Situation) -> float:
    """Learning speed: that of an earlier job on the same base where there is one, else
    1 / (6 * parameters / operations per second + a fixed cost)."""
    if device := slowest_measured(situation):
        return float(device["tokens_per_second"])
    return 1 / _seconds_per_token(situation, operations=6)


def slowest_measured(situation: Situation) -> dict[str, Any]:
    """The device on which an earlier job on the base learned slowest, with what it took
    (jobs/history.py); empty where none did on such as could run it."""
    kind = "cuda" if situation.gpu else "cpu"
    known = [
        d
        for d in situation.devices
        if d.get("kind") == kind and d.get("tokens_per_second")
    ]
    return min(known, key=lambda d: float(d["tokens_per_second"]), default={})


def overhead_seconds(situation: Situation) -> float:
    """What is spent on loading, splitting, measuring before and after, and saving."""
    sides = 2 if situation.protected_bytes else 1
    measured = min(c.MEASURED_CHARACTERS, max(1, situation.target_characters)) * sides
    tokens = measured / c.GUESSED_CHARACTERS_PER_TOKEN
    reading = 2 * tokens * _seconds_per_token(situation, operations=2)
    cutting = situation.target_bytes * c.VOCABULARY_SECONDS_PER_BYTE
    by_formula = c.FIXED_SECONDS + reading + cutting
    return max(by_formula, slowest_measured(situation).get("seconds_beside", 0.0))


def predict(situation: Situation, stages: Sequence[StageSettings]) -> dict[str, float]:
    """`seconds`, `memory_bytes` with its parts (`memory_process` and so on, by
    memory.PARTS) on each of `gpus`, `disk_bytes`, `tokens_per_second`, `passes`, `of_job`
    by whose speed (0: by the formula)."""
    settings = {stage.stage: stage for stage in stages}
    parameters = situation.parameters + _new_weights(situation, settings)
    full = any(
        stage.stage == "continue_pretraining" and getattr(stage, "method", "") == "full"
        for stage in stages
    )
    gpus = gpus_of_a_job(situation)
    needed = memory.parts(
        situation.passport,
        examples.as_long_as_known(situation, stages),
        gpu=situation.gpu,
        device_bytes=largest_device(situation),
        processes=gpus,
    )
    checkpoint = (
        c.FULL_CHECKPOINT_BYTES_PER_PARAMETER if full else c.WEIGHT_BYTES_PER_PARAMETER
    )
    disk = parameters * (
        checkpoint * c.CHECKPOINTS_KEPT + c.WEIGHT_BYTES_PER_PARAMETER * c.MODEL_COPIES
    ) + 2 * (situation.target_bytes + situation.protected_bytes)
    learning = sum(_learning_seconds(situation, stage) for stage in stages)
    return {
        "seconds": round(learning + overhead_seconds(situation)),
        "memory_bytes": sum(needed.values()),
        **{f"memory_{name}": size for name, size in needed.items()},
        "gpus": gpus,
        "disk_bytes": int(disk),
        "tokens_per_second": round(tokens_per_second(situation)),
        "passes": round(passes(situation, stages), 1),
        "of_job": slowest_measured(situation).get("of_job", 0),
    }


def largest_device(situation: Situation) -> float:
    """Bytes of the largest device that could run it, a GPU where there is one; 0 where
    none is known."""
    kind = "cuda" if situation.gpu else "cpu"
    sizes = [
        d.get("memory_bytes") or 0 for d in situation.devices if d.get("kind") == kind
    ]
    return float(max(sizes, default=0))


def gpus_of_a_job(situation: Situation) -> int:
    """How many GPUs a job gets at least (a device may be several, `uuid` names them)."""
    counts = [
        len(device.get("uuid", "").split(","))
        for device in situation.devices
        if device.get("kind") == "cuda"
    ]
    return min(counts, default=1)


def passes(situation: Situation, stages: Sequence[StageSettings]) -> float:
    """How often the target text is read in the time there is, at most the limit."""
    times = 0.0
    for stage in stages:
        if stage.stage == "continue_pretraining" and situation.target_tokens:
            share = 1 - getattr(stage, "replay_share", 0.0)
            seconds = getattr(stage, "minutes", 0.0) * 60
            seen = tokens_per_second(situation) * seconds * share
            times += min(seen / situation.target_tokens, getattr(stage, "epochs", seen))
    return times


def most_seconds(situation: Situation, stage: StageSettings) -> float:
    """What the passes over the text take; without end for a stage that makes none."""
    if stage.stage != "continue_pretraining":
        return math.inf
    target = situation.target_tokens * getattr(stage, "epochs", 0.0)
    read = target / max(0.01, 1 - getattr(stage, "replay_share", 0.0))
    return read / tokens_per_second(situation)


def _learning_seconds(situation: Situation, stage: StageSettings) -> float:
    """The stage's minutes; where these end nothing, what its passes over the text take."""
    minutes = getattr(stage, "minutes", 0.0)
    if stage.stage != "continue_pretraining" or minutes < c.UNTIMED_MINUTES:
        return minutes * 60
    return most_seconds(situation, stage)


def _seconds_per_token(situation: Situation, *, operations: int) -> float:
    work = operations * situation.parameters
    if situation.gpu:
        return work / c.GPU_OPERATIONS_PER_SECOND + c.GPU_SECONDS_PER_TOKEN
    return work / c.CPU_OPERATIONS_PER_SECOND + c.CPU_SECONDS_PER_TOKEN


def _new_rows(settings: dict[str, StageSettings]) -> int:
    return getattr(settings.get("extend_vocabulary"), "new_tokens", 0)


def _new_weights(situation: Situation, settings: dict[str, StageSettings]) -> int:
    """New rows times the width; a width that is not known is guessed from the size."""
    width = situation.passport.get("width") or int((situation.parameters / 12) ** 0.4)
    sides = 1 if situation.passport.get("tied") else 2
    return _new_rows(settings) * int(width) * sides
