"""What can be done with datasets: make, add to, correct, describe, delete, restore.

Files arrive through uploads.py; versions.py reads them.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from webapp.accounts.models import User
from webapp.core.errors import Refusal
from webapp.datasets.models import Dataset, DatasetVersion, Upload
from webapp.datasets.uploads import finish_upload
from webapp.datasets.versions import claim_version, read_version, receiving_folder
from webapp.workspaces.models import Workspace

__all__ = [
    "add_files",
    "add_version",
    "claim_version",
    "correct_version",
    "create_dataset",
    "delete_dataset",
    "describe_dataset",
    "read_version",
    "restore_dataset",
]

State = DatasetVersion.State
LONGEST_NAME = 200


def create_dataset(
    *,
    workspace: Workspace,
    name: str,
    languages: list[str],
    uploads: list[Upload],
    kind: str | None = None,
    licence: str = "",
    origin: str = "",
    state: str = State.WAITING,
) -> Dataset:
    """A dataset whose first version waits to be read from received uploads."""
    _check(workspace, uploads)
    with transaction.atomic():
        dataset = Dataset.objects.create(
            workspace=workspace,
            name=(name or Path(uploads[0].name).name)[:LONGEST_NAME],
            kind=kind or "",
            languages=languages,
            licence=licence,
            origin=origin,
        )
        _make_version(dataset, uploads, {"kind": kind} if kind else {}, state)
    return dataset


def add_version(
    *, dataset: Dataset, uploads: list[Upload], keep: DatasetVersion | None
) -> DatasetVersion:
    """A new version out of new files, together with those of `keep` if given."""
    _check(dataset.workspace, uploads)
    options = {"kind": dataset.kind} if dataset.kind else {}
    with transaction.atomic():
        version = _make_version(dataset, uploads, options)
        if keep:
            _copy_uploads(keep, version)
    return version


def _check(workspace: Workspace, uploads: list[Upload]) -> None:
    if not uploads:
        raise Refusal(_("Choose at least one file."), field="files")
    if any(upload.state != Upload.State.RECEIVED for upload in uploads):
        raise Refusal(_("A file has not arrived completely yet."), field="files")
    foreign = any(upload.workspace_id != workspace.id for upload in uploads)
    if foreign or any(upload.version_id for upload in uploads):
        raise Refusal(_("A file belongs to another dataset already."), field="files")


def _make_version(
    dataset: Dataset,
    uploads: list[Upload],
    options: dict[str, Any],
    state: str = State.WAITING,
) -> DatasetVersion:
    newest = dataset.versions.aggregate(Max("number"))["number__max"] or 0
    version = DatasetVersion.objects.create(
        dataset=dataset, number=newest + 1, options=options, state=state
    )
    ids = [upload.id for upload in uploads]
    free = Upload.objects.filter(id__in=ids, version=None)
    if free.update(version=version) != len(ids):
        raise Refusal(_("A file belongs to another dataset already."), field="files")
    return version


def add_files(
    *,
    workspace: Workspace,
    user: User | None,
    paths: list[Path],
    languages: list[str],
    name: str = "",
    kind: str | None = None,
) -> Dataset:
    """A dataset read at once from files of this machine (they are copied)."""
    for path in paths:
        if not path.is_file():
            raise Refusal(_("There is no file %(path)s.") % {"path": path})
        if not path.stat().st_size:
            raise Refusal(_("%(name)s: the file is empty.") % {"name": path.name})
    dataset = create_dataset(
        workspace=workspace,
        name=name,
        languages=languages,
        uploads=[_copied(workspace, user, path) for path in paths],
        kind=kind,
        state=State.READING,  # by us: no worker takes it
    )
    version = dataset.versions.get()
    read_version(version_id=version.id)
    version.refresh_from_db()
    if version.state != State.READY:
        raise Refusal(version.reason)
    dataset.refresh_from_db()
    return dataset


def _copied(workspace: Workspace, user: User | None, path: Path) -> Upload:
    upload = Upload.objects.create(
        workspace=workspace, user=user, name=path.name, size=path.stat().st_size
    )
    digest = hashlib.sha256()
    with (
        path.open("rb") as source,
        tempfile.NamedTemporaryFile(dir=receiving_folder(), delete=False) as copy,
    ):
        while block := source.read(1024**2):
            digest.update(block)
            copy.write(block)
    finish_upload(upload=upload, path=Path(copy.name), sha256=digest.hexdigest())
    return upload


def correct_version(
    *, version: DatasetVersion, options: dict[str, Any]
) -> DatasetVersion:
    """A new version of the same files, read as a person says they are to be read."""
    with transaction.atomic():
        corrected = _make_version(version.dataset, [], options)
        _copy_uploads(version, corrected)
    return corrected


def _copy_uploads(version: DatasetVersion, to: DatasetVersion) -> None:
    """The same stored files under another version; their order stays."""
    for upload in version.uploads.order_by("created_at", "name"):
        Upload.objects.create(
            workspace=upload.workspace,
            user=upload.user,
            name=upload.name,
            size=upload.size,
            received=upload.received,
            state=upload.state,
            sha256=upload.sha256,
            file=upload.file,
            version=to,
        )


def describe_dataset(
    *, dataset: Dataset, name: str, languages: list[str], licence: str, origin: str
) -> None:
    """Change what people say about a dataset; its text stays as it is."""
    dataset.name, dataset.languages = name, languages
    dataset.licence, dataset.origin = licence, origin
    dataset.save(update_fields=["name", "languages", "licence", "origin"])


def delete_dataset(*, dataset: Dataset) -> None:
    """Put a dataset away; it can be restored for settings.UNDO_DAYS."""
    Dataset.objects.filter(id=dataset.id).update(deleted_at=timezone.now())


def restore_dataset(*, dataset: Dataset) -> None:
    """Undo a deletion."""
    Dataset.objects.filter(id=dataset.id).update(deleted_at=None)
