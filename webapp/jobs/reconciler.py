"""What nobody else can do: lost leases, forgotten cancels, lost messages."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from webapp.jobs import edges, queue
from webapp.jobs.models import HELD, Desired, Job, State

POISON = "poison"


def reconcile() -> int:
    """Deal with lost leases and lost messages; returns how many jobs were moved.

    Any process may run it at any time: every edge is conditional.
    """
    moved = 0
    for job_id in Job.objects.filter(
        state=State.QUEUED, desired=Desired.CANCEL
    ).values_list("id", flat=True):
        moved += edges.cancel_waiting(job_id)
    lost = Job.objects.filter(state__in=HELD, lease_until__lt=Now())
    for job_id, epoch in lost.values_list("id", "epoch"):
        moved += _rescue(job_id, epoch)
    overdue = Now() - timedelta(seconds=settings.LEASE_SECONDS)
    forgotten = Job.objects.filter(
        state=State.QUEUED, desired=Desired.RUN, queued_at__lt=overdue
    )
    for job_id in forgotten.order_by("queued_at").values_list("id", flat=True)[:100]:
        queue.send_look(job_id)
    return moved


def _rescue(job_id: UUID, epoch: int) -> bool:
    """A job whose worker fell silent: CANCELLED, FAILED (poison) or QUEUED again."""
    with transaction.atomic():
        lost = edges.fenced(job_id, epoch, *HELD).filter(lease_until__lt=Now())
        if edges.cancel_held(lost, job_id, epoch):
            return True
        poisoned = lost.filter(attempts_left=0).update(
            state=State.FAILED,
            cause=POISON,
            sentence=_(
                "The worker fell silent %(times)d times without reaching a checkpoint."
            )
            % {"times": edges.attempts()},
            hint=_(
                "It may need more memory than the machine has. Try a smaller batch or "
                "a smaller base model."
            ),
            retryable=True,
            **edges.ended(),
        )
        if edges.then(poisoned, job_id, epoch, State.FAILED, POISON):
            return True
        changed = lost.update(**edges.queued())
        if not edges.then(changed, job_id, epoch, State.QUEUED, "lease lost"):
            return False
        queue.send_look(job_id)
        return True
