"""What earlier jobs on a base took: the plan reckons with it where it is known."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Sum

from webapp.jobs.models import JobStage

READING, TUNING = "continue_pretraining", "tune_instructions"
# Stages that take no minutes, and come beside the others.
BESIDE = ("prepare", "extend_vocabulary", "merge", "evaluate")
# Of a shorter stage most is loading and measuring: it does not tell how fast it reads.
SHORTEST_SECONDS = 60.0
LOOKED_AT = 20  # stages, the newest first


def seconds_per_example(base_id: UUID) -> float:
    """What an example of the newest tuning on a base took; 0 unknown."""
    done = JobStage.objects.filter(
        job__target__base=base_id, name=TUNING, state=JobStage.State.FINISHED
    )
    newest = done.select_related("job").order_by("-job__started_at").first()
    if newest is None:
        return 0.0
    seconds = newest.figures.get("seconds_per_step") or 0.0
    return seconds / (_settings(newest).get("batch_examples") or 1)


def paces(base_id: UUID) -> dict[UUID, dict[str, float]]:
    """By host, of the newest job that read there on a base without a break:
    `tokens_per_second` (its loading and measuring counted), `seconds_beside` what it took
    beside learning, `of_job` its number."""
    done = JobStage.objects.filter(
        job__target__base=base_id,
        job__epoch=1,  # of a job that was taken up again the seconds are those of the end
        job__host__isnull=False,
        name=READING,
        state=JobStage.State.FINISHED,
        seconds__gte=SHORTEST_SECONDS,
    )
    found: dict[UUID, dict[str, float]] = {}
    newest = done.select_related("job").order_by("-job__started_at")
    for stage in newest[:LOOKED_AT]:
        tokens = _tokens(stage)
        if stage.job.host_id not in found and tokens:
            found[stage.job.host_id] = {
                "tokens_per_second": round(tokens / stage.seconds, 1),
                "seconds_beside": _seconds_beside(stage),
                "of_job": stage.job.number,
            }
    return found


def _tokens(stage: JobStage) -> int:
    settings = _settings(stage)
    per_step = settings.get("batch_blocks", 0) * settings.get("block_tokens", 0)
    return per_step * (stage.figures.get("steps") or 0)


def _seconds_beside(stage: JobStage) -> float:
    beside = stage.job.stages.filter(name__in=BESIDE)
    return beside.aggregate(sum=Sum("seconds"))["sum"] or 0.0


def _settings(stage: JobStage) -> dict[str, Any]:
    stages = stage.job.spec.get("stages") or []
    return stages[stage.index] if stage.index < len(stages) else {}
