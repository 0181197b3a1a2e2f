"""The broker's message: it only says "look"; the row decides.

Without a broker nothing is sent: workers poll the database.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.db import transaction

from webapp.jobs.models import Job

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

TASK = "workers.look"


def send_look(job_id: UUID) -> None:
    """After the commit, tell the job's queue to look at it. Never raises."""
    if settings.BROKER_URL:
        transaction.on_commit(functools.partial(_send, job_id))


def _send(job_id: UUID) -> None:
    try:
        queue = Job.objects.values_list("queue", flat=True).get(id=job_id)
        _broker().send_task(TASK, args=[str(job_id)], queue=queue, retry=False)
    except Exception as problem:  # noqa: BLE001 the reconciler sends it again
        log.warning("no message was sent for job %s: %s", job_id, problem)


@functools.cache
def _broker() -> Celery:
    from celery import Celery  # only where there is a broker

    return Celery(
        broker=settings.BROKER_URL,
        set_as_current=False,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_timeout=2,
        broker_transport_options={"socket_timeout": 2, "socket_connect_timeout": 2},
    )
