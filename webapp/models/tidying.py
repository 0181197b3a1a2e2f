"""Room in the storage: models that were stored and never published."""

from __future__ import annotations

from uuid import UUID

from django.core.files.storage import default_storage

from webapp.core import files
from webapp.jobs.models import ALIVE, Job
from webapp.models.models import Model

PLACE = "models"  # models/<job id>/<epoch>, see services.store_model


def tidy_models() -> int:
    """Remove what workers stored under epochs that lost the job; how many they were.

    A withdrawn model stays: it can be restored.
    """
    removed = 0
    for job in _folders(PLACE):
        for epoch in _folders(f"{PLACE}/{job}"):
            if _is_lost(job, epoch):
                files.remove(f"{PLACE}/{job}/{epoch}")
                removed += 1
    return removed


def _is_lost(job: str, epoch: str) -> bool:
    try:
        row = Job.objects.filter(id=UUID(job)).only("state", "epoch").first()
        number = int(epoch)
    except ValueError:
        return False  # not one of ours
    if row is None or number > row.epoch:
        return False  # nothing is known of it
    if row.state in ALIVE and number == row.epoch:
        return False  # it is being stored
    place = f"{PLACE}/{job}/{epoch}/"
    return not Model.objects.filter(folder__startswith=place).exists()


def _folders(name: str) -> list[str]:
    try:
        return default_storage.listdir(name)[0]
    except FileNotFoundError:
        return []
