"""What a worker does beside and around jobs, and what it bears."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from tests.workers.conftest import CELERY
from tests.workers.installation import ROOT, SHORT, Installation
from webapp.bases.models import BaseModel
from webapp.datasets.models import DatasetVersion, Upload
from webapp.datasets.services import create_dataset, finish_upload
from webapp.jobs import moves
from webapp.jobs.models import Desired, Host, Job, State
from webapp.workspaces.models import Workspace


def uploaded(installation: Installation, text: str) -> DatasetVersion:
    """A dataset version that waits to be read."""
    workspace, _ = Workspace.objects.get_or_create(slug="w", defaults={"name": "W"})
    arrived = installation.data / "arrived.txt"
    arrived.write_text(text, encoding="utf-8")
    upload = Upload.objects.create(
        workspace=workspace, name="story.txt", size=arrived.stat().st_size
    )
    finish_upload(upload=upload, path=arrived, sha256="")
    dataset = create_dataset(
        workspace=workspace, name="story", languages=["sw"], uploads=[upload]
    )
    return dataset.versions.get()


def test_uploads_are_read_while_a_job_runs(
    installation: Installation, settings: Any
) -> None:
    settings.MEDIA_ROOT = installation.data / "files"
    settings.DATA = installation.data
    job = installation.submit("steps:100000")
    installation.start_worker()
    installation.wait_for(job, State.RUNNING)
    version = uploaded(installation, "Habari ya asubuhi.\n\nNjema sana.\n")

    def read() -> bool:
        version.refresh_from_db()
        return version.state == DatasetVersion.State.READY

    installation.wait_until(read, what=lambda: f"{version.state} {version.reason}")
    assert version.documents > 0
    job.refresh_from_db()
    assert job.state == State.RUNNING


def test_a_base_that_cannot_be_brought_is_refused(installation: Installation) -> None:
    workspace = Workspace.objects.create(slug="w", name="W")
    base = BaseModel.objects.create(
        workspace=workspace, name="b", origin="hub", address="no-such/model"
    )
    installation.start_worker("one", HF_HUB_OFFLINE="1")

    def refused() -> bool:
        base.refresh_from_db()
        return base.state == BaseModel.State.REFUSED

    installation.wait_until(refused, what=lambda: f"{base.state} {base.reason}")
    assert base.reason


def run(installation: Installation, *arguments: str) -> int:
    """`python -m workers` in the foreground; its exit code."""
    with (installation.data / "worker-foreground.log").open("ab") as log:
        return subprocess.run(
            [sys.executable, "-m", "workers", "--name", "terminal", *arguments],
            cwd=ROOT,
            env=installation.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        ).returncode


def test_one_job_in_the_foreground(installation: Installation) -> None:
    good, bad = installation.submit("succeed"), installation.submit("refuse")
    assert run(installation, "--job", str(bad.id)) == 1
    good.refresh_from_db()
    assert good.state == State.QUEUED  # that one alone was run
    assert run(installation, "--job", str(good.id)) == 0
    assert run(installation, "--job", str(good.id)) == 0  # it has succeeded already
    assert len(installation.history(good, "begin")) == 1


def test_the_foreground_waits_for_who_has_the_job(installation: Installation) -> None:
    job = installation.submit("steps:60")
    installation.start_worker("one")
    installation.wait_for(job, State.RUNNING)
    assert run(installation, "--job", str(job.id)) == 0
    assert len(installation.history(job, "begin")) == 1


def test_the_foreground_takes_up_what_another_dropped(
    installation: Installation,
) -> None:
    job = installation.submit("steps:60")
    worker = installation.start_worker("one")
    installation.running_step(job, 5)
    worker.kill()
    worker.wait()
    assert run(installation, "--job", str(job.id)) == 0
    assert len(installation.history(job, "begin")) == 2


def test_once_runs_what_waits_and_ends(installation: Installation) -> None:
    jobs = [installation.submit("succeed") for _ in range(3)]
    paused = installation.submit("succeed")
    moves.request_pause(job_id=paused.id)
    assert run(installation, "--once") == 0
    for job in jobs:
        job.refresh_from_db()
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    paused.refresh_from_db()
    assert (paused.state, paused.desired) == (State.QUEUED, Desired.PAUSE)


def test_a_drained_host_takes_nothing(installation: Installation) -> None:
    job = installation.submit("succeed")
    Host.objects.create(name="terminal", drained=True)
    assert run(installation, "--once") == 0
    job.refresh_from_db()
    assert job.state == State.QUEUED


def test_without_renewals_the_engine_ends_before_the_lease(
    installation: Installation,
) -> None:
    job = installation.submit("steps:200")
    installation.start_worker()
    installation.running_step(job, 5)
    with transaction.atomic():  # nobody else can write the job's row
        Job.objects.select_for_update().get(id=job.id)
        Job.objects.filter(id=job.id).update(recipe="held")
        began = time.monotonic()
        installation.wait_until(lambda: not installation.engines(job), seconds=10)
        took = time.monotonic() - began
    assert took < int(SHORT["MOTHERTONGUE_LEASE_SECONDS"])
    installation.wait_for(job, State.SUCCEEDED, seconds=60)
    starts = installation.history(job, "from-")
    assert len(starts) == 2
    assert not starts[1].startswith("from-0 ")
    assert len(installation.history(job, "end")) == 1


class Redis:
    """A broker of this test's own, to be stopped and started."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--save", ""]
        self.process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.DEVNULL
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def redis_server(tmp_path: Path, unused_port: int) -> Any:
    try:
        server = Redis(tmp_path, unused_port)
    except FileNotFoundError:
        from tests.conftest import missing

        missing("redis-server is not installed")
    yield server
    server.stop()


@pytest.mark.parametrize("installation", ["postgresql"], indirect=True)
@pytest.mark.service
def test_redis_goes_and_comes_back(
    installation: Installation, redis_server: Redis, settings: Any
) -> None:
    settings.BROKER_URL = installation.broker_url = redis_server.url
    long = installation.submit("steps:100")
    # Two devices would hide it: with one, the second job needs a message or a look.
    # The lease is long, so that looks are rare and only a message starts it in time.
    installation.start_worker("one", MOTHERTONGUE_LEASE_SECONDS="240")
    installation.running_step(long, 5)
    redis_server.stop()
    lost = installation.submit("succeed")  # accepted although nobody can be told
    installation.wait_for(long, State.SUCCEEDED)
    assert len(installation.history(long, "begin")) == 1
    installation.wait_for(lost, State.SUCCEEDED, seconds=10)  # found without Redis
    time.sleep(3)
    redis_server.start()
    time.sleep(10)  # the worker asks again at growing intervals
    told = installation.submit("succeed")
    installation.wait_for(told, State.SUCCEEDED, seconds=10)
    assert long.epoch == told.epoch == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broker", "sentence"),
    [
        ("", "MOTHERTONGUE_BROKER_URL is missing"),
        ("memory://", "The database cannot be used"),  # nothing has been migrated
    ],
)
def test_celery_refuses_to_look_alive(
    tmp_path: Path, broker: str, sentence: str
) -> None:
    made = Installation(tmp_path, "", CELERY, broker_url=broker)
    worker = made.start_worker()
    worker.wait(timeout=60)  # it has ended by itself
    assert sentence in made.worker_logs()
