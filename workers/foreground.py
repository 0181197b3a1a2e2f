"""One job to its end for somebody who waits at a terminal (`manage.py adapt`)."""

from __future__ import annotations

import logging
import time
from uuid import UUID

from django.conf import settings

from webapp.jobs import moves
from webapp.jobs.models import ALIVE, Desired, Job, State
from webapp.jobs.words import state_sentence
from workers.host import Duty, WorkerHost, guarded

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.5


def run_job(host: WorkerHost, job_id: UUID) -> bool:
    """Run the job, or wait for its end where another worker has it; whether it succeeded.

    A job that comes back to the queue (its worker died) is taken up here.
    """
    reconcile = Duty(settings.LEASE_SECONDS / 4, moves.reconcile)
    told = False
    while not host.stop.is_set():
        job = Job.objects.filter(id=job_id).first()
        if job is None:
            log.error("there is no job %s", job_id)
            return False
        if job.state not in ALIVE or (
            job.state == State.QUEUED and job.desired == Desired.PAUSE
        ):
            log.info("job %s: %s %s", job_id, job.get_state_display(), job.sentence)
            return job.state == State.SUCCEEDED
        if not host.work(job_id):
            if job.needs_service and not host.row.has_service and not told:
                told = True
                log.info("job %s: %s", job_id, state_sentence(job))
            guarded(reconcile.do_if_due)
            time.sleep(WAIT_SECONDS)
    return False
