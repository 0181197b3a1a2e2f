"""`manage.py tidy` makes room and touches nothing that is referred to."""

from __future__ import annotations

import fcntl
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.utils import timezone

from tests.webapp.jobs.rows import make_dataset, make_job, make_workspace
from tests.webapp.models.rows import make_model
from webapp.datasets.models import Dataset, Upload
from webapp.datasets.versions import receiving_folder
from webapp.jobs.models import Job, State
from webapp.models.services import withdraw_model

pytestmark = pytest.mark.django_db

LONG_AGO = timezone.now() - timedelta(days=30)


def run_folder(settings: Any, job: Job) -> Path:
    folder = Path(settings.RUNS) / str(job.id)
    for name in ("work/01", "stages/01", "inputs"):
        (folder / name).mkdir(parents=True)
    (folder / "log.txt").write_text("what happened")
    return folder


@pytest.mark.parametrize(
    ("state", "age_days", "emptied"),
    [
        (State.SUCCEEDED, 2, True),
        (State.SUCCEEDED, 0, False),
        (State.FAILED, 8, True),
        (State.FAILED, 2, False),  # a retry goes on from its checkpoint
        (State.CANCELLED, 8, True),
        (State.QUEUED, None, False),
        (State.RUNNING, None, False),
    ],
)
def test_run_folders(
    settings: Any, state: str, age_days: int | None, emptied: bool
) -> None:
    ended = None if age_days is None else timezone.now() - timedelta(days=age_days)
    job = make_job(state, finished_at=ended, queued_at=LONG_AGO)
    folder = run_folder(settings, job)
    call_command("tidy")
    assert (folder / "stages").exists() != emptied
    assert (folder / "work").exists() != emptied
    assert (folder / "log.txt").read_text() == "what happened"


def test_a_run_folder_in_use_or_of_nobody_is_left_alone(settings: Any) -> None:
    job = make_job(State.FAILED, finished_at=LONG_AGO)
    folder = run_folder(settings, job)
    stranger = run_folder(settings, Job())
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        call_command("tidy")
    assert (folder / "work").exists()
    call_command("tidy")
    assert not (folder / "work").exists()
    assert (stranger / "work").exists()


def test_models_that_were_never_published() -> None:
    model, running = make_model(), make_job(State.RUNNING, epoch=3)
    Job.objects.filter(id=model.job_id).update(epoch=2)
    withdrawn = make_model()
    Job.objects.filter(id=withdrawn.job_id).update(epoch=1)
    withdraw_model(model=withdrawn)
    kept = [f"{model.folder}/config.json", f"{withdrawn.folder}/config.json"]
    kept += [f"models/{running.id}/3/model/x", "models/by-hand/x/y"]
    lost = [f"models/{model.job_id}/2/model/x", f"models/{running.id}/2/model/x"]
    for name in [*kept[2:], *lost]:
        default_storage.save(name, ContentFile(b"x"))
    call_command("tidy")
    assert all(default_storage.exists(name) for name in kept)
    assert not any(default_storage.exists(name) for name in lost)


def stored(dataset: Dataset) -> list[str]:
    """Real files of a dataset: its rows, and the file as it came."""
    version = dataset.versions.get()
    version.rows_file = f"datasets/{version.id}/rows-1.jsonl"
    version.save()
    upload = Upload.objects.create(
        workspace=dataset.workspace, name="a.txt", size=1, version=version
    )
    upload.file = f"uploads/{upload.id}/a.txt"
    upload.save()
    names = [version.rows_file, upload.file]
    for name in names:
        default_storage.save(name, ContentFile(b"x"))
    return names


@pytest.mark.parametrize(
    ("days", "learned", "removed"),
    [(8, False, True), (6, False, False), (8, True, False), (None, False, False)],
)
def test_deleted_datasets(days: int | None, learned: bool, removed: bool) -> None:
    dataset, other = make_dataset(make_workspace()), make_dataset(make_workspace())
    names, others = stored(dataset), stored(other)
    if days:
        gone = timezone.now() - timedelta(days=days)
        Dataset.objects.filter(id=dataset.id).update(deleted_at=gone)
    if learned:
        job = make_job(State.FAILED, spec={"data": {"target": [{"path": names[0]}]}})
        Job.objects.update(workspace=dataset.workspace)
        assert job
    call_command("tidy")
    assert Dataset.objects.filter(id=dataset.id).exists() != removed
    assert [default_storage.exists(name) for name in names] == [not removed] * 2
    assert all(default_storage.exists(name) for name in others)


def test_uploads_and_leftovers() -> None:
    upload = Upload.objects.create(
        workspace=make_workspace(), name="a.txt", size=2, received=1
    )
    part = receiving_folder() / f"{upload.id}.part"
    old, new = receiving_folder() / "tmpold", receiving_folder() / "tmpnew"
    for path in (part, old, new):
        path.write_bytes(b"x")
    os.utime(old, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
    call_command("tidy")
    assert part.exists() and new.exists() and not old.exists()
    Upload.objects.update(created_at=LONG_AGO)
    call_command("tidy")
    upload.refresh_from_db()
    assert upload.state == Upload.State.EXPIRED and not part.exists()
