"""The plan reckons with what earlier jobs on the same base took, and says so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.webapp.jobs.rows import make_host, make_job, make_whole_target
from tests.webapp.world import World
from webapp.jobs import history
from webapp.jobs.inputs import known_devices
from webapp.jobs.models import Host, Job, JobStage, State
from webapp.jobs.proposal import Answers, propose, situation_for

pytestmark = pytest.mark.django_db

CPU = {"kind": "cpu", "name": "cores", "memory_bytes": 8 * 10**9}


@pytest.fixture
def target(world: World) -> Any:
    Host.objects.update_or_create(
        name="anvil", defaults={"devices": [CPU], "seen_at": timezone.now()}
    )
    return make_whole_target(world.workspace)


def has_read(target: Any, *, seconds: float = 100.0, **columns: Any) -> Job:
    """A finished job that read 25,600 tokens in 100 seconds, on anvil."""
    now = timezone.now()
    settings = {
        "stage": "continue_pretraining",
        "batch_blocks": 10,
        "block_tokens": 256,
    }
    known = {"epoch": 1, "host": make_host(), "started_at": now, "finished_at": now}
    job = make_job(
        State.SUCCEEDED,
        target=target,
        spec={"stages": [{"stage": "prepare"}, settings, {"stage": "evaluate"}]},
        **(known | columns),
    )
    names = ("prepare", "continue_pretraining", "evaluate")
    for index, name in enumerate(names):
        JobStage.objects.create(
            job=job,
            index=index,
            name=name,
            state=JobStage.State.FINISHED,
            seconds=seconds if index == 1 else 200.0,
            figures={"steps": 10} if index == 1 else {},
        )
    return job


def predicted(target: Any, minutes: float = 30) -> dict[str, float]:
    return propose(target=target, answers=Answers(minutes=minutes)).plan.predictions


def test_the_newest_reading_on_the_base_gives_the_speed(target: Any) -> None:
    assert history.paces(target.base_id) == {}
    has_read(target)
    job = has_read(
        target, seconds=80.0, started_at=timezone.now() + timedelta(minutes=1)
    )
    pace = history.paces(target.base_id)[make_host().id]
    assert pace == {
        "tokens_per_second": 320.0,
        "seconds_beside": 400.0,
        "of_job": job.number,
    }
    assert known_devices(target.base_id) == (CPU | pace,)
    assert known_devices() == (CPU,)
    assert history.paces(make_whole_target().base_id) == {}, "another base"


@pytest.mark.parametrize(
    "columns",
    [
        {"seconds": 59.0},  # mostly loading
        {"epoch": 2},  # taken up again: its seconds are those of the end
        {"host": None},
    ],
)
def test_what_does_not_tell_a_speed_is_left_out(target: Any, columns: Any) -> None:
    has_read(target, **columns)
    assert history.paces(target.base_id) == {}


def test_passes_steps_and_time_follow_from_the_measured_speed(target: Any) -> None:
    before = predicted(target)
    job = has_read(target)  # 256 tokens a second, far below the formula
    after = predicted(target)
    assert (before["of_job"], after["of_job"]) == (0, job.number)
    assert after["tokens_per_second"] == 256 < before["tokens_per_second"]
    assert after["passes"] < before["passes"]
    plans = [
        propose(target=target, answers=Answers(minutes=30), overrides=overrides).plan
        for overrides in ({}, {"continue_pretraining": {"batch_blocks": 16}})
    ]
    blocks = [
        stage.batch_blocks
        for plan in plans
        for stage in plan.stages
        if stage.stage == "continue_pretraining"
    ]
    assert blocks[0] < blocks[1] == 16
    # 400 seconds beside learning leave less of the time for it.
    (reading,) = (
        stage for stage in plans[0].stages if stage.stage == "continue_pretraining"
    )
    Host.objects.update(devices=[])
    Job.objects.all().update(epoch=2)
    (alone,) = (
        stage
        for stage in propose(target=target, answers=Answers(minutes=30)).plan.stages
        if stage.stage == "continue_pretraining"
    )
    assert reading.minutes < alone.minutes


def test_a_gpu_is_not_reckoned_by_what_a_cpu_took(target: Any) -> None:
    has_read(target)
    gpu = {"kind": "cuda", "name": "card", "memory_bytes": 24 * 10**9, "uuid": "GPU-1"}
    Host.objects.create(name="forge", devices=[gpu], seen_at=timezone.now())
    _inputs, situation = situation_for(target, Answers())
    assert situation.gpu
    assert predicted(target)["of_job"] == 0


def test_the_page_says_what_the_estimate_is_made_from(
    world: World, target: Any
) -> None:
    client, address = world.client("eve"), world.url("job-new") + f"?target={target.id}"
    text = client.get(address).content.decode()
    assert "Nothing was learned on this base here yet" in text
    job = has_read(target)
    text = client.get(address).content.decode()
    assert f"from job #{job.number}, which learned 256 tokens a second" in text
    assert "Nothing was learned on this base here yet" not in text
