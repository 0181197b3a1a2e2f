"""`manage.py tidy`: free what nothing refers to any more. Workers do it every hour."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from webapp.datasets.tidying import tidy_datasets, tidy_uploads
from webapp.jobs.tidying import tidy_runs
from webapp.models.tidying import tidy_models

WHAT = {
    "run folders emptied": tidy_runs,
    "unpublished models removed": tidy_models,
    "deleted datasets removed": tidy_datasets,
    "uploads freed": tidy_uploads,
}


class Command(BaseCommand):
    """Make room; never what a job, a model or a dataset still needs."""

    help = "Free what nothing refers to any more."

    def handle(self, *args: Any, **options: Any) -> None:
        """One after the other; says what was found."""
        for what, tidy in WHAT.items():
            if count := tidy():
                self.stdout.write(f"{what}: {count}")
