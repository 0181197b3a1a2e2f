"""What the page says of an ended job is what a retry would find."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from webapp.jobs.models import Job, JobStage
from webapp.jobs.words import is_kept, kept_sentence


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
