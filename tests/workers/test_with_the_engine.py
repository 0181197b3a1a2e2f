"""The real engine under the workers: killed, taken up, the same weights; published."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers.installation import ROOT, Installation
from training.manifest import file_sha256
from training.spec import ContinuePretraining, Evaluate, JobSpec, Prepare
from webapp.jobs.models import Job, State
from webapp.models.models import Model

STEPS = 500


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """Half a minute of continued pretraining of a tiny model, checkpoints all along."""
    from tests.training import tiny

    learning = ContinuePretraining(
        steps=STEPS,
        block_tokens=64,
        batch_blocks=4,
        evaluations=1,
        checkpoint_minutes=0.02,
        precision="float32",
    )
    stages = [Prepare(), learning, Evaluate(sample_tokens=4)]
    return tiny.spec(tmp_path_factory.mktemp("spec"), stages)


@pytest.fixture(scope="session")
def undisturbed(spec: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the weights of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "spec.json").write_text(json.dumps(spec.as_json()))
    command = [sys.executable, "-m", "training", "spec.json", "run"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return weights(folder / "run/stages/01-continue_pretraining/model")


def weights(folder: Path) -> str:
    return file_sha256(folder / "model.safetensors")


def submit(installation: Installation, spec: JobSpec) -> Job:
    installation.engine = ""  # the default: python -m training
    return installation.submit("", spec=spec.as_json())


def stages_begun(job: Job) -> list[str]:
    events = job.events.filter(kind="stage_started").order_by("id")
    return [event.stage for event in events]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_taken_up_from_its_last_checkpoint_it_ends_in_the_same_weights(
    installation: Installation, spec: JobSpec, undisturbed: str, ending: int
) -> None:
    job = submit(installation, spec)
    worker = installation.start_worker("one")
    installation.wait_until(
        lambda: job.checkpoints.exists() or bool(job.refresh_from_db()), seconds=90
    )
    worker.send_signal(ending)
    worker.wait(timeout=30)
    job.refresh_from_db()
    assert job.state in (State.RUNNING, State.QUEUED)  # it was in the middle
    installation.start_worker("two")
    installation.wait_for(job, State.SUCCEEDED, seconds=90)
    assert job.epoch >= 2  # a busy machine may lose the short lease once more
    begun = stages_begun(job)
    assert begun.count("prepare") == 1  # finished stages are not repeated
    assert begun.count("continue_pretraining") >= 2
    steps = list(job.checkpoints.order_by("step").values_list("epoch", "step"))
    assert steps == sorted(
        steps
    )  # it went on from where it was, not from the beginning
    model = Model.objects.get()
    assert Path(model.folder).parts[-2] == str(job.epoch)  # the last epoch's place
    assert weights(installation.data / "files" / model.folder) == undisturbed
    assert (
        model.report["bits_per_byte"]["target"]["after"]
        < (model.report["bits_per_byte"]["target"]["before"])
    )


def test_a_changed_dataset_is_refused(
    installation: Installation, spec: JobSpec, tmp_path: Path
) -> None:
    plain = spec.as_json()
    plain["data"]["target"][0]["sha256"] = "0" * 64
    installation.engine = ""
    job = installation.submit("", spec=plain)
    installation.start_worker()
    installation.wait_for(job, State.FAILED, seconds=90)
    assert job.cause == "input_missing"
    assert "has changed since the launch" in job.sentence
    assert not Model.objects.exists()
