"""The event file of a run, mirrored to the database under the fence of the epoch.

Every kind is kept as a row but `progress`, whose newest figures stand on the job's row.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from webapp.jobs.models import HELD, Checkpoint, Job, JobEvent, JobStage


def mirror_events(
    *, job_id: UUID, epoch: int, events: list[dict[str, Any]], offset: int
) -> bool:
    """Write events and what they say about the job; False when the lease is lost.

    `offset` is the position in the event file after `events`, as
    `training.events.read_events` returns it; the job's `events_offset` is where reading
    goes on. The same events mirrored twice change nothing the second time.
    """
    with transaction.atomic():
        job = Job.objects.filter(id=job_id, epoch=epoch, state__in=HELD)
        ahead = job.filter(events_offset__lt=offset)
        if not ahead.update(events_offset=offset, **_standing(events)):
            return job.exists()
        _write_stages(job_id, events)
        _write_checkpoints(job_id, epoch, events)
        JobEvent.objects.bulk_create(
            _row(job_id, epoch, event)
            for event in events
            if event["kind"] != "progress"
        )
    return True


def restart_events(*, job_id: UUID, epoch: int) -> bool:
    """Mirror from the beginning again: this host's event file is a new one."""
    rows = Job.objects.filter(id=job_id, epoch=epoch, state__in=HELD)
    return bool(rows.update(events_offset=0))


def _standing(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Columns of the job's row as the newest events give them."""
    columns: dict[str, Any] = {}
    for event in events:
        kind = event["kind"]
        if kind == "stage_started":
            columns |= {
                "stage": event["stage"],
                "step": None,
                "total": None,
                "seconds_left": None,
                "metrics": {},
            }
        elif kind == "progress":
            columns |= {
                "stage": event["stage"],
                "step": event.get("step"),
                "total": event.get("total"),
                "seconds_left": event.get("seconds_left"),
                "metrics": event.get("metrics") or {},
            }
        elif kind == "checkpoint":  # it has got further: the attempts begin anew
            columns["attempts_left"] = settings.ATTEMPTS_WITHOUT_CHECKPOINT
    return columns


def _write_stages(job_id: UUID, events: list[dict[str, Any]]) -> None:
    for event in events:
        kind = event["kind"]
        if kind == "job_started":
            for index, name in enumerate(event["stages"]):
                JobStage.objects.get_or_create(
                    job_id=job_id, index=index, defaults={"name": name}
                )
        elif kind == "stage_started":
            _set_stage(job_id, event, state=JobStage.State.RUNNING)
        elif kind == "stage_finished":
            _set_stage(
                job_id,
                event,
                state=JobStage.State.FINISHED,
                seconds=event.get("seconds"),
                figures=event.get("figures") or {},
            )


def _set_stage(job_id: UUID, event: dict[str, Any], **columns: Any) -> None:
    JobStage.objects.update_or_create(
        job_id=job_id,
        index=event["index"],
        defaults=columns,
        create_defaults={"name": event["stage"], **columns},
    )


def _write_checkpoints(job_id: UUID, epoch: int, events: list[dict[str, Any]]) -> None:
    for event in events:
        if event["kind"] == "checkpoint":
            Checkpoint.objects.get_or_create(
                job_id=job_id,
                epoch=epoch,
                stage=event["stage"],
                step=event["step"],
                path=event["path"],  # names the stage's place: a name may come twice
                defaults={"manifest_sha256": event["manifest_sha256"]},
            )


def _row(job_id: UUID, epoch: int, event: dict[str, Any]) -> JobEvent:
    payload = {
        key: value
        for key, value in event.items()
        if key not in ("time", "kind", "stage", "step")
    }
    return JobEvent(
        job_id=job_id,
        epoch=epoch,
        time=datetime.fromtimestamp(event["time"], tz=UTC),
        kind=event["kind"],
        stage=event.get("stage") or "",
        step=event.get("step"),
        payload=payload,
    )
