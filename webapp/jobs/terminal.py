"""A job watched from a terminal: one worker of its own, lines as things happen."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from webapp.core import files
from webapp.jobs import moves
from webapp.jobs.models import ALIVE, Job, JobEvent, State

LOOK_SECONDS = 0.5
LINE_SECONDS = 10.0  # between two lines about the same stage

Say = Callable[[str], None]


def run_with_worker(job: Job, say: Say) -> Job:
    """Run a job to its end in a worker process of its own; returns the job as it ended.

    Ctrl-C asks it to cancel and waits; a second one ends the worker at once.
    """
    log = Path(settings.DATA) / "logs" / f"job-{job.id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "workers", "--job", str(job.id)],
            cwd=settings.ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches this process alone
        )
    lines = Lines(job)
    try:
        _watch(lines, worker, say)
    except KeyboardInterrupt:
        say(_("Cancelling; what is finished is kept. Ctrl-C again ends it at once."))
        moves.request_cancel(job_id=job.id)
        _watch(lines, worker, say)
    finally:
        if worker.poll() is None:
            worker.terminate()
            worker.wait()
    job.refresh_from_db()
    if job.state in ALIVE:
        moves.request_cancel(job_id=job.id)
        say(_("The worker ended before the job did. Its log: %(log)s") % {"log": log})
    return job


def model_folder(job: Job) -> Path | None:
    """Where the published model lies on this machine; None where there is none."""
    model = getattr(job, "model", None)
    return files.local_path(model.folder) if model else None


def _watch(lines: Lines, worker: subprocess.Popen[bytes], say: Say) -> None:
    while worker.poll() is None:
        time.sleep(LOOK_SECONDS)
        for line in lines.new():
            say(line)
    for line in lines.new():
        say(line)


class Lines:
    """What there is to say about a job since the last look."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.last_event = 0
        self.last_line = 0.0
        self.stage = ""

    def new(self) -> list[str]:
        """Events, and now and then how far the stage has got."""
        lines = []
        events = JobEvent.objects.filter(job=self.job, id__gt=self.last_event)
        for event in events.order_by("id"):
            self.last_event = event.id
            if line := describe(event):
                lines.append(line)
        now = time.monotonic()
        if now - self.last_line >= LINE_SECONDS:
            self.last_line = now
            lines.extend(self._progress())
        return lines

    def _progress(self) -> list[str]:
        job = Job.objects.only("state", "stage", "step", "total", "seconds_left").get(
            id=self.job.id
        )
        if job.state != State.RUNNING or job.step is None or not job.total:
            return []
        line = f"  {job.stage}: {job.step:,} / {job.total:,}"
        if job.seconds_left is not None:
            line += _(", %(seconds)d s left") % {"seconds": job.seconds_left}
        return [line]


def describe(event: JobEvent) -> str:
    """One event as a line; empty for what is not worth one."""
    payload = event.payload
    if event.kind == "stage_started":
        return f"{event.stage} ..."
    if event.kind == "stage_finished":
        return f"{event.stage}: {payload.get('seconds') or 0:.1f} s"
    if event.kind == "note":
        return f"  {payload.get('sentence', '')}"
    if event.kind == "evaluation":
        target = payload.get("target_bits_per_byte")
        protected = payload.get("protected_bits_per_byte")
        figures = [f"{figure:.3f}" for figure in (target, protected) if figure]
        return f"  {event.stage} {event.step}: {' / '.join(figures)} bits per byte"
    return ""
