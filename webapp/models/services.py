"""What can be done with finished models: store, publish, withdraw."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.utils import timezone

from webapp.core import files, languages
from webapp.jobs.models import Job
from webapp.models.models import Model


@dataclass(frozen=True)
class StoredModel:
    """Folders in the storage, not yet a Model: nobody sees them until it is published."""

    folder: str
    adapter: str
    bytes: int
    manifest_sha256: str


def store_model(
    *,
    job_id: UUID,
    epoch: int,
    folder: Path,
    adapter: Path | None,
    invented: Path | None = None,
) -> StoredModel:
    """Copy a finished model (and its adapter) into the storage.

    Each epoch has its own place: what a worker that lost its lease stores here is never
    published. An adapter is of no use without the model it was trained on, so that the
    folder `base` beside it is kept too (webapp/models/selectors.py, adapter_base), and so
    is the folder `invented` with conversations that a service made (invented_rows).
    """
    place = f"models/{job_id}/{epoch}"
    if invented:
        files.store_folder(invented, f"{place}/invented")
    if adapter and (adapter.parent / "base").is_dir():
        files.store_folder(adapter.parent / "base", f"{place}/base")
    manifest = folder.parent / "manifest.json"
    return StoredModel(
        folder=files.store_folder(folder, f"{place}/model"),
        adapter=files.store_folder(adapter, f"{place}/adapter") if adapter else "",
        bytes=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
        manifest_sha256=(
            hashlib.sha256(manifest.read_bytes()).hexdigest()
            if manifest.exists()
            else ""
        ),
    )


def publish_model(*, job: Job, stored: StoredModel, report: dict[str, Any]) -> Model:
    """The Model row of a finished job; call it in the transaction that finishes it."""
    target = job.target
    name = f"{target.base.name} · {languages.describe(target.language).name} · {job.number}"
    return Model.objects.create(
        workspace=job.workspace,
        name=name,
        job=job,
        target=target,
        language=target.language,
        folder=stored.folder,
        adapter=stored.adapter,
        bytes=stored.bytes,
        manifest_sha256=stored.manifest_sha256,
        report=report,
    )


def rename_model(*, model: Model, name: str) -> None:
    """Give a model another name."""
    Model.objects.filter(id=model.id).update(name=name)


def withdraw_model(*, model: Model) -> None:
    """Take a model out of lists and chat; its files stay, and it can be restored."""
    Model.objects.filter(id=model.id).update(withdrawn_at=timezone.now())


def restore_model(*, model: Model) -> None:
    """Undo a withdrawal."""
    Model.objects.filter(id=model.id).update(withdrawn_at=None)
