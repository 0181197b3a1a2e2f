"""What the home page of a workspace says of its targets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.webapp.world import World
from webapp.bases.models import BaseModel
from webapp.datasets.models import Dataset, DatasetVersion, Kind
from webapp.jobs.models import Host, Job, State
from webapp.targets.models import LanguageTarget
from webapp.workspaces import overview
from webapp.workspaces.models import Workspace

TEXT = {
    "ug": "بۇرۇنقى زاماندا بىر كەمبەغەل دېهقان بولغانىكەن، ئۇنىڭ ئۈچ ئوغلى بار ئىكەن.",
    "sw": "Hapo zamani za kale palikuwa na mzee mmoja aliyeishi kando ya mto.",
}


def target(workspace: Workspace, language: str) -> LanguageTarget:
    base = BaseModel.objects.create(workspace=workspace, name="base", state="ready")
    dataset = Dataset.objects.create(
        workspace=workspace,
        name=f"text {language}",
        kind=Kind.MONOLINGUAL,
        languages=[language],
    )
    DatasetVersion.objects.create(
        dataset=dataset, number=1, state="ready", preview=[{"text": TEXT[language]}]
    )
    row = LanguageTarget.objects.create(
        workspace=workspace, language=language, base=base
    )
    row.datasets.add(dataset)
    return row


def job(of: LanguageTarget, number: int, state: str, **fields: Any) -> Job:
    return Job.objects.create(
        workspace=of.workspace, target=of, number=number, state=state, **fields
    )


def report(before: float, after: float) -> dict[str, Any]:
    return {
        "bits_per_byte": {"target": {"before": before, "after": after}},
        "tokenizer": {
            "before": {"tokens_per_word": 3.9},
            "after": {"tokens_per_word": 1.4},
        },
    }


def test_the_job_at_work_is_shown_before_those_that_wait(world: World) -> None:
    of = target(world.workspace, "sw")
    job(of, 1, State.SUCCEEDED)
    job(of, 2, State.QUEUED)
    page = world.client("vera").get(world.url("workspace-home")).content.decode()
    assert "Job 2" in page and "progressbar" not in page and "more" not in page
    job(of, 3, State.RUNNING)
    job(of, 4, State.QUEUED)
    page = world.client("vera").get(world.url("workspace-home")).content.decode()
    assert "Job 3" in page and "progressbar" in page and "and 2 more" in page
    Job.objects.filter(number=3).update(state=State.FAILED)
    (card,) = overview.cards(world.workspace)
    assert card.live and (card.live.number, card.more) == (2, 1), "the next to begin"


def test_the_best_job_is_shown(world: World) -> None:
    sw = target(world.workspace, "sw")
    job(sw, 1, State.SUCCEEDED, report=report(2.9, 1.2))
    best = job(sw, 2, State.SUCCEEDED, report=report(2.9, 1.1))
    job(sw, 3, State.SUCCEEDED, report={})
    [card] = overview.cards(world.workspace)
    assert (card.best, card.before, card.best_job, card.jobs) == (1.1, 2.9, best, 3)
    assert (len(card.pieces_before), len(card.pieces_after)) == (16, 6)
    page = world.client("vera").get(world.url("workspace-home")).content.decode()
    assert "1.10" in page and "Kiswahili" in page


def test_a_running_job_and_its_machine(world: World) -> None:
    sw = target(world.workspace, "sw")
    host = Host.objects.create(name="keller", devices=[{"name": "CPU, 2 cores"}])
    fields = {"step": 3, "total": 10, "seconds_left": 260.0, "host": host}
    job(sw, 1, State.RUNNING, **fields)
    page = world.client("vera").get(world.url("workspace-home")).content.decode()
    assert 'aria-valuenow="30"' in page and "4 min 20 s left" in page
    # Later stages need time as well: what was predicted of the whole job counts.
    began = timezone.now() - timedelta(minutes=1)
    Job.objects.update(predictions={"seconds": 780.4}, started_at=began)
    page = world.client("vera").get(world.url("workspace-home")).content.decode()
    assert "12 min left" in page
    Job.objects.update(predictions={"seconds": 30}, seconds_left=None)  # overdue
    page = world.client("vera").get(world.url("workspace-home")).content.decode()
    assert " left" not in page
    assert "keller" in page and "CPU, 2 cores" in page


def test_a_failure_is_shown_until_something_newer_went_well(world: World) -> None:
    sw = target(world.workspace, "sw")
    job(sw, 1, State.FAILED, sentence="The disk is full.")
    page = world.client("vera").get(world.url("workspace-home")).content.decode()
    assert "The disk is full." in page
    job(sw, 2, State.SUCCEEDED, report=report(2.9, 1.2))
    page = world.client("vera").get(world.url("workspace-home")).content.decode()
    assert "The disk is full." not in page


def test_text_carries_its_language_and_direction(world: World) -> None:
    target(world.workspace, "ug")
    page = world.client("vera").get(world.url("workspace-home")).content.decode()
    assert '<p class="specimen-line" lang="ug" dir="rtl">بۇرۇنقى' in page


def test_nothing_of_another_workspace(world: World) -> None:
    target(world.elsewhere, "sw")
    page = world.client("vera").get(world.url("workspace-home")).content.decode()
    assert "Kiswahili" not in page and "text sw" not in page


def test_more_targets_cost_no_more_queries(world: World) -> None:
    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            overview.cards(world.workspace)
        return len(queries)

    job(target(world.workspace, "sw"), 1, State.SUCCEEDED)
    one = count()
    for number in range(2, 6):
        job(target(world.workspace, "ug"), number, State.RUNNING)
    assert count() == one
