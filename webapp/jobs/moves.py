"""Every edge of a job's state machine, each one conditional UPDATE.

The UPDATE names the old state and the epoch. No row changed means that someone else was
first: the function returns False (or None) and nothing is written. What people want
(`desired`) is a separate field; cancelling beats everything else.

A worker calls, in this order: `claim_job`, `start_running`, then `renew_lease` and
`mirror_events` again and again, and last one of `finish_succeeded`, `finish_failed`,
`finish_lost` or `finish_stopped` (after `begin_stopping` where it was asked to stop).
Times that decide come from the database's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Coalesce, Now

from webapp.jobs import edges, queue
from webapp.jobs.mirror import mirror_events, restart_events
from webapp.jobs.models import ALIVE, HELD, Attempt, Desired, Host, Job, State
from webapp.jobs.reconciler import reconcile

__all__ = [
    "begin_stopping",
    "claim_job",
    "finish_failed",
    "finish_lost",
    "finish_stopped",
    "finish_succeeded",
    "mirror_events",
    "reconcile",
    "renew_lease",
    "request_cancel",
    "request_pause",
    "request_run",
    "restart_events",
    "retry",
    "start_running",
    "submit",
]

# --- Verbs of people ----------------------------------------------------------


def submit(*, job_id: UUID) -> bool:
    """DRAFT -> QUEUED: hand the job to the workers."""
    return edges.enqueue(
        Job.objects.filter(id=job_id, state=State.DRAFT), job_id, "launched"
    )


def retry(*, job_id: UUID, epoch: int) -> bool:
    """FAILED or CANCELLED -> QUEUED; it goes on from its newest checkpoint."""
    rows = Job.objects.filter(
        id=job_id, epoch=epoch, state__in=(State.FAILED, State.CANCELLED)
    )
    return edges.enqueue(
        rows, job_id, "retried", finished_at=None, **edges.FORGET_FAILURE
    )


def request_cancel(*, job_id: UUID) -> bool:
    """Cancel at once where it waits; else its worker stops at the next heartbeat."""
    with transaction.atomic():
        rows = Job.objects.filter(id=job_id, state__in=ALIVE)
        if not rows.update(desired=Desired.CANCEL):
            return False
        edges.cancel_waiting(job_id)
    return True


def request_pause(*, job_id: UUID) -> bool:
    """Not claimed until resumed; a worker that has it stops at the next heartbeat."""
    rows = Job.objects.filter(id=job_id, state__in=ALIVE, desired=Desired.RUN)
    return bool(rows.update(desired=Desired.PAUSE))


def request_run(*, job_id: UUID) -> bool:
    """Take back a pause. A cancel cannot be taken back: retry does that."""
    rows = Job.objects.filter(id=job_id, state__in=ALIVE, desired=Desired.PAUSE)
    with transaction.atomic():
        if not rows.update(desired=Desired.RUN):
            return False
        queue.send_look(job_id)
    return True


# --- Verbs of workers ---------------------------------------------------------


def claim_job(
    *, host: Host, queues: list[str], job_id: UUID | None = None
) -> Job | None:
    """QUEUED -> CLAIMED: take the oldest waiting job of these queues, or None.

    With `job_id` only that job, whatever its queue. Raises the epoch, takes the lease,
    records an Attempt and takes one from `attempts_left`. A drained host gets nothing,
    and one without a service that writes no job that needs one.
    """
    if Host.objects.filter(id=host.id, drained=True).exists():
        return None
    waiting = edges.waiting_for(host)
    waiting = (
        waiting.filter(id=job_id) if job_id else waiting.filter(queue__in=queues)
    ).order_by("queued_at", "number")
    with transaction.atomic():
        if connection.vendor == "postgresql":
            waiting = waiting.select_for_update(skip_locked=True)
        job = waiting.first()
        if job is None or not edges.claim(job, host):
            return None
        Attempt.objects.create(job=job, epoch=job.epoch + 1, host=host)
        edges.record(job.id, job.epoch + 1, State.CLAIMED, host.name)
    job.refresh_from_db()
    return job


def start_running(*, job_id: UUID, epoch: int) -> bool:
    """CLAIMED -> RUNNING: the child process has been started."""
    with transaction.atomic():
        changed = edges.fenced(job_id, epoch, State.CLAIMED).update(
            state=State.RUNNING, started_at=Coalesce("started_at", Now())
        )
        return edges.then(changed, job_id, epoch, State.RUNNING)


def renew_lease(*, job_id: UUID, epoch: int) -> str | None:
    """Hold the job for another LEASE_SECONDS; returns what people want of it now.

    None: the lease is lost, stop at once and write nothing more.
    """
    with transaction.atomic():
        if not edges.fenced(job_id, epoch, *HELD).update(lease_until=edges.lease_end()):
            return None
        return Job.objects.values_list("desired", flat=True).get(id=job_id)


def begin_stopping(*, job_id: UUID, epoch: int) -> bool:
    """CLAIMED or RUNNING -> STOPPING: the child has been asked to stop."""
    with transaction.atomic():
        rows = edges.fenced(job_id, epoch, State.CLAIMED, State.RUNNING)
        changed = rows.update(state=State.STOPPING)
        return edges.then(changed, job_id, epoch, State.STOPPING)


def finish_succeeded(
    *, job_id: UUID, epoch: int, report: dict[str, Any], publish: Callable[[Job], None]
) -> bool:
    """RUNNING or STOPPING -> SUCCEEDED, unless it is to be cancelled.

    `publish` runs in the same transaction and makes the model's row: the job has
    succeeded and the model exists, or neither. Where this returns False although the
    lease holds, a cancel came first: call `finish_stopped`.
    """
    with transaction.atomic():
        rows = edges.fenced(job_id, epoch, State.RUNNING, State.STOPPING)
        changed = rows.exclude(desired=Desired.CANCEL).update(
            state=State.SUCCEEDED,
            report=report,
            **edges.ended(),
            **edges.FORGET_FAILURE,
        )
        if not edges.then(changed, job_id, epoch, State.SUCCEEDED, "finished"):
            return False
        publish(Job.objects.get(id=job_id))
        return True


def finish_failed(
    *,
    job_id: UUID,
    epoch: int,
    cause: str,
    sentence: str,
    hint: str = "",
    retryable: bool = False,
) -> bool:
    """CLAIMED, RUNNING or STOPPING -> FAILED, or CANCELLED where that was wanted."""
    failure = {"cause": cause, "sentence": sentence, "hint": hint}
    with transaction.atomic():
        held = edges.fenced(job_id, epoch, *HELD)
        if edges.cancel_held(held, job_id, epoch):
            return True
        changed = held.update(
            state=State.FAILED, retryable=retryable, **failure, **edges.ended()
        )
        return edges.then(changed, job_id, epoch, State.FAILED, cause)


def finish_lost(
    *, job_id: UUID, epoch: int, cause: str, sentence: str, hint: str = ""
) -> bool:
    """CLAIMED, RUNNING or STOPPING -> QUEUED: this attempt died, another goes on.

    FAILED, with these words, where no attempt is left without a new checkpoint;
    CANCELLED where that was wanted.
    """
    with transaction.atomic():
        held = edges.fenced(job_id, epoch, *HELD)
        if held.filter(attempts_left=0).exists():
            failure = {"cause": cause, "sentence": sentence, "hint": hint}
            return finish_failed(job_id=job_id, epoch=epoch, retryable=True, **failure)
        if edges.cancel_held(held, job_id, epoch):
            return True
        changed = held.update(**edges.queued())
        if not edges.then(changed, job_id, epoch, State.QUEUED, cause):
            return False
        queue.send_look(job_id)
        return True


def finish_stopped(*, job_id: UUID, epoch: int) -> bool:
    """CLAIMED, RUNNING or STOPPING -> CANCELLED, or QUEUED after a pause or a deploy.

    A paused job keeps `desired` = pause and is not claimed until it is resumed. A
    polite stop says nothing against the job: it gets all its attempts back.
    """
    with transaction.atomic():
        held = edges.fenced(job_id, epoch, *HELD)
        if edges.cancel_held(held, job_id, epoch):
            return True
        changed = held.update(**edges.queued(), attempts_left=edges.attempts())
        if not edges.then(changed, job_id, epoch, State.QUEUED, "stopped"):
            return False
        queue.send_look(job_id)
        return True
