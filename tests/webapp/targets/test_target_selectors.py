from __future__ import annotations

from typing import Any

import pytest

from tests.webapp.jobs.rows import make_dataset, make_job, make_target, make_workspace
from tests.webapp.models.rows import REPORT
from webapp.datasets.models import DatasetVersion
from webapp.jobs.models import State
from webapp.targets.selectors import (
    best_bits,
    change,
    newest_versions,
    next_step,
    ready_datasets,
    results,
)

pytestmark = pytest.mark.django_db


def report(before: float, after: float | None) -> dict[str, Any]:
    bits = {"target": {"before": before, "after": after}, "protected": None}
    return {**REPORT, "bits_per_byte": bits}


def test_results_side_by_side() -> None:
    target = make_target()
    make_job(State.SUCCEEDED, target=target, report=report(4.0, 2.0))
    best = make_job(State.SUCCEEDED, target=target, report=report(4.0, 1.0))
    make_job(State.FAILED, target=target)
    failed, better, worse = results(target)
    assert [failed.best, better.best, worse.best] == [False, True, False]
    assert failed.target == {"before": None, "after": None}
    assert better.job == best and better.target_change == -0.75
    assert better.protected_change is None and better.characters_per_token == 3.75
    assert best_bits([target]) == {target.id: {"before": 4.0, "after": 1.0}}


def test_a_single_result_is_not_called_the_best() -> None:
    target = make_target()
    make_job(State.SUCCEEDED, target=target, report=REPORT)
    (only,) = results(target)
    assert not only.best
    assert only.protected_change == pytest.approx(0.025)


@pytest.mark.parametrize("damaged", [{}, {"bits_per_byte": None}, {"tokenizer": {}}])
def test_a_report_may_lack_anything(damaged: dict[str, Any]) -> None:
    target = make_target()
    make_job(State.SUCCEEDED, target=target, report=damaged)
    (row,) = results(target)
    assert row.target["after"] is row.seconds is row.characters_per_token is None


def test_change_is_a_share() -> None:
    assert change({"before": 2.0, "after": 2.1}) == pytest.approx(0.05)
    assert change({"before": 0, "after": 1.0}) is None
    assert change({"before": 2.0, "after": None}) is None


def test_only_the_newest_ready_version_counts() -> None:
    target = make_target()
    dataset = make_dataset(target.workspace)
    target.datasets.add(dataset, make_dataset(target.workspace, ready=False))
    second = DatasetVersion.objects.create(
        dataset=dataset, number=2, state="ready", characters=7, documents=1
    )
    DatasetVersion.objects.create(dataset=dataset, number=3, state="rejected")
    assert newest_versions(target.datasets.all()) == [second]
    (row,) = ready_datasets(target.workspace)
    assert (row, row.characters) == (dataset, 7)
    assert not ready_datasets(make_workspace())


def test_the_next_step() -> None:
    target = make_target()

    def kind(learned: list[Any]) -> str:
        return next_step(learned, results(target), "sw")["kind"]

    assert kind([]) == "text"
    assert kind([1]) == "adapt"
    done = make_job(State.SUCCEEDED, target=target, report=REPORT)
    assert kind([1]) == "again"
    bits = {"target": {"before": 4, "after": 2}, "protected": {"before": 2, "after": 3}}
    done.report = {**REPORT, "bits_per_byte": bits}
    done.save()
    assert kind([1]) == "protect"
    make_job(State.FAILED, target=target)
    assert kind([1]) == "failed"
    live = make_job(State.RUNNING, target=target)
    assert kind([1]) == "watch"
    assert next_step([1], results(target), "sw")["job"] == live
    assert "Swahili" in next_step([], [], "sw")["sentence"]
