"""`manage.py make-bucket`: the bucket of the object store, where there is none yet."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Make the bucket once; where files are kept in a folder there is nothing to do."""

    help = "Make the object store's bucket if it is not there."

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, then make it."""
        try:
            default_storage.path("")
        except NotImplementedError:
            self._make()
        else:
            self.stdout.write(
                f"Files are kept in {settings.FILES}; no bucket is needed."
            )

    def _make(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        name = default_storage.bucket_name  # type: ignore[attr-defined]
        client = default_storage.connection.meta.client  # type: ignore[attr-defined]
        try:
            client.head_bucket(Bucket=name)
        except ClientError as problem:
            if problem.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
                raise CommandError(
                    f"The bucket {name} cannot be used: {problem}"
                ) from None
            client.create_bucket(Bucket=name)
            self.stdout.write(f"The bucket {name} is made.")
        except BotoCoreError as problem:
            raise CommandError(f"The object store does not answer: {problem}") from None
