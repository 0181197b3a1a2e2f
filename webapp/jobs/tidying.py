"""Room on this machine's disk: what ended jobs have left in RUNS."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from webapp.jobs.models import Checkpoint, Job, State

# Stages, checkpoints and fetched inputs; the spec, the events and the log are small and
# stay.
LARGE = ("work", "stages", "inputs")
# What was published lies in the storage; a day is left to look into what made it.
SUCCEEDED_KEPT = timedelta(days=1)


def tidy_runs() -> int:
    """Empty the run folders of jobs that ended long ago; how many they were.

    A failed or cancelled job keeps everything for UNDO_DAYS, so that a retry goes on
    from its newest checkpoint; after that a retry begins anew.
    """
    emptied = 0
    for folder in sorted(Path(settings.RUNS).glob("*-*-*-*-*")):
        if any((folder / name).exists() for name in LARGE):
            emptied += _empty(folder)
    return emptied


def _empty(folder: Path) -> bool:
    with _alone(folder) as alone:
        # Asked under the lock: an attempt that begins now waits for it.
        if not alone or not _is_over(folder.name):
            return False
        Checkpoint.objects.filter(job_id=folder.name).delete()
        for name in LARGE:
            shutil.rmtree(folder / name, ignore_errors=True)
    return True


def _is_over(name: str) -> bool:
    """Whether the job of a folder ended long ago; nothing is known of a stranger's."""
    try:
        job = UUID(name)
    except ValueError:
        return False
    now = timezone.now()
    long_ago = Q(state=State.SUCCEEDED, finished_at__lt=now - SUCCEEDED_KEPT) | Q(
        state__in=(State.FAILED, State.CANCELLED),
        finished_at__lt=now - timedelta(days=settings.UNDO_DAYS),
    )
    return Job.objects.filter(long_ago, id=job).exists()


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Holds the lock of a run folder (workers/run_folder.py), unless an engine has it."""
    with (folder / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
