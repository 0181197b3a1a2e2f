"""Room on disk: datasets deleted long ago, uploads of which nothing came, leftovers."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import PurePosixPath

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from webapp.core import files
from webapp.datasets.models import Dataset, DatasetVersion, Upload
from webapp.datasets.uploads import DAYS_KEPT, expire_uploads
from webapp.datasets.versions import receiving_folder
from webapp.jobs.models import Job


def tidy_datasets() -> int:
    """Remove datasets deleted for longer than UNDO_DAYS, with their files; how many.

    One that any job has learned from stays: the job may be tried again, and the card of
    its model names licence and origin.
    """
    long_ago = timezone.now() - timedelta(days=settings.UNDO_DAYS)
    removed = 0
    for dataset in Dataset.objects.filter(deleted_at__lt=long_ago):
        with transaction.atomic():
            rows = Dataset.objects.select_for_update().filter(
                id=dataset.id, deleted_at__lt=long_ago
            )
            if not rows.exists() or _is_learned_from(dataset):
                continue
            places = _places(dataset)
            dataset.delete()
        for place in places:
            files.remove(place)
        removed += 1
    return removed


def tidy_uploads() -> int:
    """Free what uploads hold of which no dataset was made, and what killed readers left;
    how many there were."""
    removed = expire_uploads()
    silent = time.time() - timedelta(days=DAYS_KEPT).total_seconds()
    for path in receiving_folder().iterdir():
        if path.is_file() and path.stat().st_mtime < silent:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_learned_from(dataset: Dataset) -> bool:
    stored = dataset.versions.exclude(rows_file="").values_list("rows_file", flat=True)
    jobs = Job.objects.filter(workspace=dataset.workspace_id)
    return any(jobs.filter(spec__icontains=name).exists() for name in stored)


def _places(dataset: Dataset) -> set[str]:
    """Folders in the storage that hold a dataset's rows and its files as they came."""
    versions = DatasetVersion.objects.filter(dataset=dataset).values_list(
        "id", flat=True
    )
    uploads = Upload.objects.filter(version__dataset=dataset).exclude(file="")
    stored = uploads.values_list("file", flat=True)
    return {f"datasets/{id}" for id in versions} | {
        str(PurePosixPath(name).parent) for name in stored
    }
