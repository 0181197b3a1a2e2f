"""What the page says of an ended job is what a retry would find."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from tests.webapp.jobs.rows import make_host, make_job
from webapp.jobs.models import Host, Job, JobStage
from webapp.jobs.words import is_kept, kept_sentence, state_sentence


@pytest.mark.parametrize(("days", "kept"), [(None, True), (6, True), (8, False)])
def test_what_a_job_finished_is_kept_for_a_while(
    settings: Any, days: int | None, kept: bool
) -> None:
    settings.UNDO_DAYS = 7
    job = Job(finished_at=days and timezone.now() - timedelta(days=days))
    assert is_kept(job) is kept
    step: Any = SimpleNamespace(step=1200, stage="continue_pretraining")
    assert ("step 1,200" in kept_sentence(job, [], step)) is kept
    assert ("7 days" in kept_sentence(job, [], step)) is not kept


def test_without_a_checkpoint_the_finished_stages_are_kept() -> None:
    stage = JobStage(state=JobStage.State.FINISHED)
    assert "on after them" in kept_sentence(Job(), [stage], None)
    stage.state = JobStage.State.RUNNING
    assert "begins anew" in kept_sentence(Job(), [stage], None)


def seen_host(name: str, *, has_service: bool) -> Host:
    host = make_host(name)
    host.seen_at, host.has_service = timezone.now(), has_service
    host.save()
    return host


@pytest.mark.django_db
def test_a_job_that_no_host_can_do_says_what_is_missing() -> None:
    seen_host("plain", has_service=False)
    served = seen_host("served", has_service=True)
    job = make_job(needs_service=True)
    behind = make_job(target=job.target)
    assert "next to begin" in state_sentence(job)
    assert "1 job is before it" in state_sentence(behind)
    served.seen_at -= timedelta(hours=1)  # away
    served.save()
    assert "MOTHERTONGUE_TRANSLATOR_URL" in state_sentence(job)
    assert "next to begin" in state_sentence(
        behind
    )  # what waits for it holds no one up
