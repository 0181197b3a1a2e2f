"""What the edges of a job's state machine are made of (webapp/jobs/moves.py).

Each function is, or is part of, one UPDATE that names the old state and the epoch.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now

from webapp.jobs import queue
from webapp.jobs.models import HELD, Attempt, Desired, Host, Job, JobEvent, State

FORGET_FAILURE = {"cause": "", "sentence": "", "hint": "", "retryable": False}


def fenced(job_id: UUID, epoch: int, *states: str) -> QuerySet[Job]:
    """The job, where it is in one of these states under this epoch."""
    return Job.objects.filter(id=job_id, epoch=epoch, state__in=states)


def waiting_for(host: Host) -> QuerySet[Job]:
    """The jobs that wait and that this host could do, of all queues."""
    rows = Job.objects.filter(state=State.QUEUED, desired=Desired.RUN)
    return rows if host.has_service else rows.filter(needs_service=False)


def claim(job: Job, host: Host) -> int:
    """QUEUED -> CLAIMED with a new epoch and a lease; 1 where it happened."""
    rows = fenced(job.id, job.epoch, State.QUEUED).filter(desired=Desired.RUN)
    return rows.update(
        state=State.CLAIMED,
        epoch=F("epoch") + 1,
        lease_until=lease_end(),
        host=host,
        attempts_left=max(0, job.attempts_left - 1),
    )


def cancel_waiting(job_id: UUID) -> bool:
    """QUEUED -> CANCELLED where a cancel is wanted; no process is involved."""
    rows = Job.objects.filter(id=job_id, state=State.QUEUED, desired=Desired.CANCEL)
    with transaction.atomic():
        changed = rows.update(state=State.CANCELLED, **ended())
        return then(changed, job_id, None, State.CANCELLED, "cancelled while waiting")


def cancel_held(held: QuerySet[Job], job_id: UUID, epoch: int) -> bool:
    """A held job -> CANCELLED where a cancel is wanted."""
    changed = held.filter(desired=Desired.CANCEL).update(
        state=State.CANCELLED, **ended()
    )
    return then(changed, job_id, epoch, State.CANCELLED, "cancelled")


def enqueue(rows: QuerySet[Job], job_id: UUID, reason: str, **changes: Any) -> bool:
    """`rows` (one job or none) -> QUEUED with all its attempts."""
    with transaction.atomic():
        changed = rows.update(
            desired=Desired.RUN, attempts_left=attempts(), **queued(), **changes
        )
        if not then(changed, job_id, None, State.QUEUED, reason):
            return False
        queue.send_look(job_id)
        return True


def queued() -> dict[str, Any]:
    """Columns of a job that waits."""
    return {
        "state": State.QUEUED,
        "queued_at": Now(),
        "lease_until": None,
        "host": None,
        "seconds_left": None,
    }


def ended() -> dict[str, Any]:
    """Columns of a job that has left its worker for good."""
    return {"lease_until": None, "finished_at": Now(), "seconds_left": None}


def lease_end() -> ExpressionWrapper:
    """The database's clock and LEASE_SECONDS."""
    return ExpressionWrapper(
        Now() + timedelta(seconds=settings.LEASE_SECONDS), output_field=DateTimeField()
    )


def attempts() -> int:
    """How often a job may be begun without a new checkpoint."""
    return settings.ATTEMPTS_WITHOUT_CHECKPOINT


def then(
    changed: int, job_id: UUID, epoch: int | None, state: State, reason: str = ""
) -> bool:
    """Record an edge that happened; closes the attempt where it left the worker."""
    if not changed:
        return False
    if epoch is None:
        epoch = Job.objects.values_list("epoch", flat=True).get(id=job_id)
    elif state not in HELD:
        Attempt.objects.filter(job_id=job_id, epoch=epoch).update(
            ended_at=Now(), outcome=reason or state
        )
    record(job_id, epoch, state, reason)
    return True


def record(job_id: UUID, epoch: int, state: State, reason: str) -> None:
    """One line of the job's history."""
    JobEvent.objects.create(
        job_id=job_id,
        epoch=epoch,
        time=Now(),
        kind="state",
        payload={"state": state, "reason": reason},
    )
