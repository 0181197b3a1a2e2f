from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.utils import timezone

from tests.webapp.jobs.rows import make_host, make_job, make_target
from training.spec import stage_from_json, uses_service
from webapp.jobs import edges, moves, reconciler
from webapp.jobs.models import Attempt, Checkpoint, Desired, Job, JobEvent, State

pytestmark = pytest.mark.django_db

D, Q, C, R, S = State.DRAFT, State.QUEUED, State.CLAIMED, State.RUNNING, State.STOPPING
OK, F, X = State.SUCCEEDED, State.FAILED, State.CANCELLED

Move = Callable[[Job, int], object]


def nothing(job: Job) -> None:
    """A publication that makes no row."""


MOVES: dict[str, Move] = {
    "submit": lambda job, epoch: moves.submit(job_id=job.id),
    "retry": lambda job, epoch: moves.retry(job_id=job.id, epoch=epoch),
    "claim_job": lambda job, epoch: moves.claim_job(host=make_host(), queues=["cpu"]),
    "start_running": lambda job, epoch: moves.start_running(job_id=job.id, epoch=epoch),
    "begin_stopping": lambda job, epoch: moves.begin_stopping(
        job_id=job.id, epoch=epoch
    ),
    "finish_succeeded": lambda job, epoch: moves.finish_succeeded(
        job_id=job.id, epoch=epoch, report={"ok": 1}, publish=nothing
    ),
    "finish_failed": lambda job, epoch: moves.finish_failed(
        job_id=job.id, epoch=epoch, cause="diverged", sentence="It diverged."
    ),
    "finish_lost": lambda job, epoch: moves.finish_lost(
        job_id=job.id, epoch=epoch, cause="killed", sentence="It was killed."
    ),
    "finish_stopped": lambda job, epoch: moves.finish_stopped(
        job_id=job.id, epoch=epoch
    ),
    "request_cancel": lambda job, epoch: moves.request_cancel(job_id=job.id),
}

# What each move makes of each state; a state that is not named must stay as it is.
TABLE: dict[str, dict[State, State]] = {
    "submit": {D: Q},
    "retry": {F: Q, X: Q},
    "claim_job": {Q: C},
    "start_running": {C: R},
    "begin_stopping": {C: S, R: S},
    "finish_succeeded": {R: OK, S: OK},
    "finish_failed": {C: F, R: F, S: F},
    "finish_lost": {C: Q, R: Q, S: Q},
    "finish_stopped": {C: Q, R: Q, S: Q},
    "request_cancel": {Q: X, C: C, R: R, S: S},
}
FENCED = [
    name for name in TABLE if name not in ("submit", "claim_job", "request_cancel")
]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("name", list(TABLE))
def test_every_edge_and_no_other(name: str, state: State) -> None:
    job = make_job(state)
    happened = bool(MOVES[name](job, job.epoch))
    expected = TABLE[name].get(state)
    assert happened == (expected is not None)
    job.refresh_from_db()
    assert job.state == (expected or state)
    changed = expected is not None and expected != state
    assert JobEvent.objects.filter(job=job, kind="state").exists() == changed


@pytest.mark.parametrize("name", FENCED)
def test_an_old_epoch_changes_nothing(name: str) -> None:
    state = next(iter(TABLE[name]))
    old, current = make_job(state, epoch=7), make_job(state, epoch=7)
    before = Job.objects.filter(id=old.id).values().get()
    assert not MOVES[name](old, 6)
    assert Job.objects.filter(id=old.id).values().get() == before
    assert MOVES[name](current, 7)  # the same with the right epoch happens


def test_a_claim_takes_lease_epoch_and_one_attempt() -> None:
    job = make_job(epoch=4)
    claimed = moves.claim_job(host=make_host("anvil"), queues=["cpu"])
    assert claimed is not None and claimed.id == job.id
    assert (claimed.epoch, claimed.attempts_left) == (5, 2)
    assert claimed.host is not None and claimed.host.name == "anvil"
    assert claimed.lease_until is not None
    left = claimed.lease_until - timezone.now()
    assert timedelta(seconds=50) < left <= timedelta(seconds=61)
    assert Attempt.objects.get(job=job).epoch == 5


def test_the_oldest_of_the_queue_is_claimed_first() -> None:
    now = timezone.now()
    target = make_target()
    late = make_job(target=target, queued_at=now)
    early = make_job(target=target, queued_at=now - timedelta(hours=1))
    make_job(target=target, queued_at=now - timedelta(hours=2), queue="gpu")
    host = make_host()
    first = moves.claim_job(host=host, queues=["cpu"])
    second = moves.claim_job(host=host, queues=["cpu"])
    assert [first, second] == [early, late]
    assert moves.claim_job(host=host, queues=["cpu"]) is None
    assert moves.claim_job(host=host, queues=["gpu", "cpu"]) is not None


def test_a_named_job_is_claimed_whatever_its_queue() -> None:
    make_job()
    wanted = make_job(queue="gpu")
    claimed = moves.claim_job(host=make_host(), queues=["cpu"], job_id=wanted.id)
    assert claimed == wanted


@pytest.mark.parametrize("named", [True, False])
def test_a_job_that_needs_a_service_waits_for_a_host_that_has_one(named: bool) -> None:
    plain, served = make_host("plain"), make_host("served")
    served.has_service = True
    served.save()
    job = make_job(needs_service=True)
    wanted = job.id if named else None
    assert moves.claim_job(host=plain, queues=["cpu"], job_id=wanted) is None
    behind = make_job(target=job.target)
    assert moves.claim_job(host=plain, queues=["cpu"]) == behind  # it blocks no other
    assert moves.claim_job(host=served, queues=["cpu"], job_id=wanted) == job


@pytest.mark.parametrize(
    ("values", "needs"),
    [
        ({"invented_conversations": 5}, True),
        ({"translated_rows": 5}, True),
        ({"translated_rows": 5, "translator": "model"}, False),
        ({}, False),
    ],
)
def test_jobs_that_waited_before_the_column_came_are_marked(
    values: dict, needs: bool
) -> None:
    stage = {"stage": "tune_instructions", **values}
    job = make_job(spec={"stages": [stage]})
    migration = import_module("webapp.jobs.migrations.0004_job_needs_service")
    migration.mark_waiting(apps, None)
    job.refresh_from_db()
    assert job.needs_service is needs
    assert uses_service([stage_from_json(stage)]) is needs


def test_a_drained_host_claims_nothing() -> None:
    make_job()
    host = make_host()
    host.drained = True
    host.save()
    assert moves.claim_job(host=host, queues=["cpu"]) is None
    assert moves.claim_job(host=make_host("other"), queues=["cpu"]) is not None


@pytest.mark.parametrize("desired", [Desired.CANCEL, Desired.PAUSE])
def test_a_job_that_shall_not_run_is_not_claimed(desired: str) -> None:
    job = make_job(desired=desired)
    assert moves.claim_job(host=make_host(), queues=["cpu"]) is None
    assert moves.claim_job(host=make_host(), queues=["cpu"], job_id=job.id) is None


def test_a_paused_job_is_in_nobodys_way() -> None:
    now = timezone.now()
    make_job(desired=Desired.PAUSE, queued_at=now - timedelta(hours=1))
    behind = make_job(queued_at=now)
    assert moves.claim_job(host=make_host(), queues=["cpu"]) == behind


def test_who_looked_before_somebody_else_claimed_gets_nothing() -> None:
    """Where nothing is locked between the look and the claim, the UPDATE decides."""
    job = make_job()
    first, second = Job.objects.get(id=job.id), Job.objects.get(id=job.id)
    assert edges.claim(first, make_host("anvil")) == 1
    assert edges.claim(second, make_host("bellows")) == 0
    job.refresh_from_db()
    assert job.epoch == 1 and job.host is not None and job.host.name == "anvil"
    # The one who looked before the job came back to the queue has an old epoch.
    moves.finish_stopped(job_id=job.id, epoch=1)
    assert edges.claim(second, make_host("bellows")) == 0


def test_renewing_tells_what_people_want() -> None:
    job = make_job(R)
    assert moves.renew_lease(job_id=job.id, epoch=1) == "run"
    assert moves.request_pause(job_id=job.id)
    assert moves.renew_lease(job_id=job.id, epoch=1) == "pause"
    assert moves.request_cancel(job_id=job.id)
    assert moves.renew_lease(job_id=job.id, epoch=1) == "cancel"


def test_renewing_an_old_lease_is_refused() -> None:
    job = make_job(R, epoch=2)
    assert moves.renew_lease(job_id=job.id, epoch=1) is None
    ended = make_job(OK, epoch=2)
    assert moves.renew_lease(job_id=ended.id, epoch=2) is None
    assert moves.renew_lease(job_id=job.id, epoch=2) == "run"


def test_a_paused_job_waits_until_it_is_resumed() -> None:
    job = make_job(R, attempts_left=0)
    moves.request_pause(job_id=job.id)
    assert moves.begin_stopping(job_id=job.id, epoch=1)
    assert moves.finish_stopped(job_id=job.id, epoch=1)
    job.refresh_from_db()
    assert (job.state, job.desired, job.attempts_left) == (Q, "pause", 3)
    assert moves.claim_job(host=make_host(), queues=["cpu"]) is None
    assert moves.request_run(job_id=job.id)
    assert moves.claim_job(host=make_host(), queues=["cpu"]) == job


def test_cancel_beats_failure_and_success() -> None:
    published: list[Job] = []
    failing = make_job(R, desired=Desired.CANCEL)
    done = make_job(R, desired=Desired.CANCEL)
    moves.finish_failed(job_id=failing.id, epoch=1, cause="x", sentence="y")
    succeeded = moves.finish_succeeded(
        job_id=done.id, epoch=1, report={}, publish=published.append
    )
    assert not succeeded and not published
    assert moves.finish_stopped(job_id=done.id, epoch=1)
    for job in (failing, done):
        job.refresh_from_db()
        assert job.state == X


def test_an_attempt_that_died_is_followed_by_another_until_none_is_left() -> None:
    job, host = make_job(), make_host()
    for attempt in (1, 2, 3):
        assert moves.claim_job(host=host, queues=["cpu"]) == job
        assert moves.finish_lost(
            job_id=job.id,
            epoch=attempt,
            cause="killed",
            sentence="Killed.",
            hint="Try.",
        )
        job.refresh_from_db()
        assert job.state == (F if attempt == 3 else Q)
    assert (job.cause, job.sentence, job.hint) == ("killed", "Killed.", "Try.")
    assert job.retryable and job.finished_at
    outcomes = Attempt.objects.filter(job=job).values_list("outcome", flat=True)
    assert list(outcomes) == ["killed"] * 3


@pytest.mark.parametrize("attempts_left", [0, 2])
def test_an_attempt_that_died_does_not_undo_a_cancel(attempts_left: int) -> None:
    job = make_job(R, desired=Desired.CANCEL, attempts_left=attempts_left)
    assert moves.finish_lost(job_id=job.id, epoch=1, cause="killed", sentence="K.")
    job.refresh_from_db()
    assert job.state == X


def test_a_cancel_cannot_become_a_pause() -> None:
    job = make_job(R)
    moves.request_cancel(job_id=job.id)
    assert not moves.request_pause(job_id=job.id)
    assert not moves.request_run(job_id=job.id)


def test_success_and_publication_happen_together_or_not_at_all() -> None:
    def broken(job: Job) -> None:
        raise OSError("disk")

    job = make_job(R)
    with pytest.raises(OSError, match="disk"):
        moves.finish_succeeded(job_id=job.id, epoch=1, report={"a": 1}, publish=broken)
    job.refresh_from_db()
    assert (job.state, job.report) == (R, {})
    seen: list[Job] = []
    assert moves.finish_succeeded(
        job_id=job.id, epoch=1, report={"a": 1}, publish=seen.append
    )
    assert seen[0].report == {"a": 1} and seen[0].state == OK


def test_retry_forgets_the_failure_and_keeps_the_place() -> None:
    job = make_job(
        F, cause="diverged", sentence="It diverged.", step=7, attempts_left=0
    )
    assert moves.retry(job_id=job.id, epoch=job.epoch)
    job.refresh_from_db()
    assert (job.cause, job.sentence, job.finished_at) == ("", "", None)
    assert (job.step, job.attempts_left) == (7, 3)


# --- The reconciler -----------------------------------------------------------


def lost_job(**columns: object) -> Job:
    return make_job(R, lease_until=timezone.now() - timedelta(seconds=5), **columns)


def test_a_lost_lease_is_queued_again() -> None:
    lost, healthy = lost_job(), make_job(R)
    assert moves.reconcile() == 1
    lost.refresh_from_db()
    healthy.refresh_from_db()
    assert (lost.state, lost.host, lost.lease_until) == (Q, None, None)
    assert healthy.state == R  # its lease still holds
    assert moves.reconcile() == 0


def test_a_lease_that_was_renewed_after_the_look_is_left_alone() -> None:
    job = make_job(R)
    assert not reconciler._rescue(job.id, job.epoch)
    job.refresh_from_db()
    assert job.state == R
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert reconciler._rescue(job.id, job.epoch)


def test_what_keeps_killing_its_worker_is_failed_in_words() -> None:
    job = make_job()
    for _ in range(3):
        assert moves.claim_job(host=make_host(), queues=["cpu"]) == job
        Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        assert moves.reconcile() == 1
    job.refresh_from_db()
    assert (job.state, job.cause) == (F, "poison")
    assert "3 times" in job.sentence and job.hint


def test_a_new_checkpoint_gives_the_attempts_back() -> None:
    job = lost_job(attempts_left=0)
    Job.objects.update(lease_until=timezone.now() + timedelta(seconds=30))
    mirror(job, [checkpoint(10)], 100)
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    moves.reconcile()
    job.refresh_from_db()
    assert (job.state, job.attempts_left) == (Q, 3)


def test_a_lost_job_that_was_to_be_cancelled_is_cancelled() -> None:
    job = lost_job(desired=Desired.CANCEL, attempts_left=0)
    assert moves.reconcile() == 1
    job.refresh_from_db()
    assert job.state == X


def test_a_lost_job_that_was_to_pause_waits() -> None:
    job = lost_job(desired=Desired.PAUSE)
    moves.reconcile()
    job.refresh_from_db()
    assert (job.state, job.desired) == (Q, "pause")


# --- Mirrored events ----------------------------------------------------------


def checkpoint(step: int) -> dict[str, object]:
    return {
        "time": 1.0,
        "kind": "checkpoint",
        "stage": "continue_pretraining",
        "step": step,
        "path": f"work/02/checkpoint-{step}",
        "manifest_sha256": "a" * 64,
    }


def mirror(job: Job, events: list[dict], offset: int, epoch: int = 1) -> bool:
    return moves.mirror_events(job_id=job.id, epoch=epoch, events=events, offset=offset)


def story() -> list[dict]:
    stage = "continue_pretraining"
    return [
        {"time": 1.0, "kind": "job_started", "stages": ["prepare", stage]},
        {"time": 1.0, "kind": "stage_started", "stage": "prepare", "index": 0},
        {
            "time": 2.0,
            "kind": "stage_finished",
            "stage": "prepare",
            "index": 0,
            "seconds": 1.0,
            "figures": {"documents": 3},
        },
        {"time": 2.0, "kind": "stage_started", "stage": stage, "index": 1},
        {
            "time": 3.0,
            "kind": "progress",
            "stage": stage,
            "step": 5,
            "total": 50,
            "seconds_left": 9.5,
            "metrics": {"bytes_per_second": 1000},
        },
        checkpoint(5),
    ]


def test_events_reach_job_stages_and_checkpoints() -> None:
    job = make_job(R)
    assert mirror(job, story(), 500)
    job.refresh_from_db()
    assert (job.stage, job.step, job.total) == ("continue_pretraining", 5, 50)
    assert (job.seconds_left, job.events_offset) == (9.5, 500)
    assert job.metrics == {"bytes_per_second": 1000}
    stages = [(s.name, s.state, s.figures) for s in job.stages.all()]
    assert stages == [
        ("prepare", "finished", {"documents": 3}),
        ("continue_pretraining", "running", {}),
    ]
    assert Checkpoint.objects.get(job=job).step == 5


def test_a_stage_that_comes_twice_has_checkpoints_of_its_own() -> None:
    job = make_job(R)
    stage = "continue_pretraining"
    second = checkpoint(5) | {"path": "work/03/checkpoint-5", "index": 2}
    events = [
        {"time": 1.0, "kind": "job_started", "stages": [stage, "merge", stage]},
        {"time": 1.0, "kind": "stage_started", "stage": stage, "index": 0},
        checkpoint(5) | {"index": 0},
        {"time": 2.0, "kind": "stage_started", "stage": stage, "index": 2},
        second,
    ]
    assert mirror(job, events, 500)
    paths = set(Checkpoint.objects.filter(job=job).values_list("path", flat=True))
    assert paths == {"work/02/checkpoint-5", "work/03/checkpoint-5"}
    states = [stage.state for stage in job.stages.all()]
    assert states == ["running", "waiting", "running"]


def test_the_same_events_twice_are_written_once() -> None:
    job = make_job(R)
    assert mirror(job, story(), 500)
    count = JobEvent.objects.count()
    assert mirror(job, story(), 500)  # the lease holds, there is nothing to write
    assert JobEvent.objects.count() == count
    assert mirror(job, [checkpoint(6)], 600)
    assert JobEvent.objects.count() == count + 1


def test_events_of_an_old_epoch_are_not_written() -> None:
    job = make_job(R, epoch=2)
    assert not mirror(job, story(), 500, epoch=1)
    assert not JobEvent.objects.exists() and not job.stages.exists()
    assert mirror(job, story(), 500, epoch=2)


def test_a_new_event_file_is_mirrored_from_its_beginning() -> None:
    job = make_job(R, events_offset=900)
    assert not moves.restart_events(job_id=job.id, epoch=0)
    assert moves.restart_events(job_id=job.id, epoch=1)
    mirror(job, story(), 500)
    job.refresh_from_db()
    assert job.events_offset == 500
