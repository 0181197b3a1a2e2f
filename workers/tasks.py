"""The one Celery task, and the host that it works on."""

from __future__ import annotations

import threading
from uuid import UUID

from django.conf import settings

from webapp.jobs.queue import TASK
from workers.celery import app
from workers.host import WorkerHost, this_machine


class Running:
    """The host of this process, once the worker is ready."""

    host: WorkerHost | None = None
    duties: threading.Thread | None = None
    ready = threading.Event()


@app.task(name=TASK)
def look(job_id: str) -> None:
    """Run a job if it still waits, then whatever else waits."""
    Running.ready.wait()
    if Running.host and not Running.host.stop.is_set():
        Running.host.work(UUID(job_id))
        Running.host.work_on()


def start_host(name: str, queues: list[str]) -> None:
    """Begin the host's duties in a thread of their own."""
    Running.host = this_machine(name, queues)
    Running.duties = threading.Thread(
        target=Running.host.serve, args=[settings.LEASE_SECONDS / 4], daemon=True
    )
    Running.duties.start()
    Running.ready.set()


def stop_host() -> None:
    """Ask the jobs to stop. Called by a signal handler."""
    if Running.host:
        Running.host.stop.set()


def join_host() -> None:
    """Wait for the end of the duties and of the jobs they had started."""
    stop_host()
    Running.ready.set()
    if Running.duties:
        Running.duties.join()
