"""What every worker promises, on both backends, with real processes and real signals."""

from __future__ import annotations

import os
import signal
import time

import pytest
from django.db import InternalError, connection, transaction

from tests.workers.installation import Installation
from webapp.jobs import moves
from webapp.jobs.models import Attempt, Desired, Host, Job, JobEvent, State
from webapp.jobs.words import state_sentence


def test_a_job_runs_to_its_end(installation: Installation) -> None:
    job = installation.submit("succeed")
    installation.start_worker()
    installation.wait_for(job, State.SUCCEEDED)
    assert job.report == {"samples": ["habari"]}
    assert job.epoch == 1
    assert job.stages.get().state == "finished"
    assert Host.objects.get().seen_at is not None
    assert Host.objects.get().devices
    assert len(installation.history(job, "begin")) == 1


@pytest.mark.parametrize(
    ("script", "cause", "sentence"),
    [
        ("refuse", "too_little_text", "There are only 12 characters."),
        ("half", "unexpected", "ended without saying why"),
        # Without a checkpoint it is begun three times.
        (f"vanish:{signal.SIGKILL:d}", "killed", "SIGKILL"),
        (f"vanish:{signal.SIGSEGV:d}", "crashed", "SIGSEGV"),
    ],
)
def test_a_failure_says_why(
    installation: Installation, script: str, cause: str, sentence: str
) -> None:
    job = installation.submit(script)
    installation.start_worker()
    installation.wait_for(job, State.FAILED)
    assert job.cause == cause
    assert sentence in job.sentence
    assert job.hint
    assert job.retryable == script.startswith("vanish")
    assert job.epoch == (3 if script.startswith("vanish") else 1)
    if script == "half":
        assert "this is the last line" in job.hint


def test_what_no_database_takes_does_not_block_the_rest(
    installation: Installation,
) -> None:
    job = installation.submit("strange")
    installation.start_worker()
    installation.wait_for(job, State.SUCCEEDED)
    kinds = set(job.events.values_list("kind", flat=True))
    assert {"evaluation", "note", "stage_finished", "succeeded"} - kinds == {
        "succeeded"
    }
    answer = job.events.get(kind="evaluation").payload["samples"][0]
    assert answer == {"prompt": "a\ufffdb", "answer": "?"}
    assert job.events.get(kind="note").payload["sentence"] == "still here"


def test_cancelled_while_it_waits(installation: Installation) -> None:
    job = installation.submit("succeed")
    moves.request_cancel(job_id=job.id)
    other = installation.submit("succeed")
    installation.start_worker()
    installation.wait_for(other, State.SUCCEEDED)
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    assert not installation.history(job, "begin")


def test_cancelled_while_it_runs(installation: Installation) -> None:
    job = installation.submit("steps:2000")
    installation.start_worker()
    installation.running_step(job, 5)
    asked_at = time.monotonic()
    moves.request_cancel(job_id=job.id)
    installation.wait_for(job, State.CANCELLED)
    assert time.monotonic() - asked_at < 10
    assert not installation.engines(job)
    assert Attempt.objects.get().ended_at is not None


def test_cancelled_although_it_ignores_sigterm(installation: Installation) -> None:
    job = installation.submit("stubborn")
    installation.start_worker()
    installation.wait_until(lambda: len(installation.engines(job)) == 2)
    moves.request_cancel(job_id=job.id)
    installation.wait_for(job, State.CANCELLED)
    assert not installation.engines(job)  # neither the engine nor its own child
    states = [event.payload["state"] for event in JobEvent.objects.filter(kind="state")]
    assert states[-2:] == [State.STOPPING, State.CANCELLED]


def test_paused_and_resumed(installation: Installation) -> None:
    job = installation.submit("steps:60")
    installation.start_worker()
    installation.running_step(job, 5)
    moves.request_pause(job_id=job.id)
    installation.wait_for(job, State.QUEUED)
    assert job.desired == Desired.PAUSE
    assert not installation.engines(job)
    time.sleep(2)
    job.refresh_from_db()
    assert job.state == State.QUEUED  # nobody takes a paused job
    moves.request_run(job_id=job.id)
    installation.wait_for(job, State.SUCCEEDED)
    starts = installation.history(job, "from-")
    assert len(starts) == 2
    assert not starts[1].startswith("from-0 ")


def test_a_worker_that_is_asked_to_end_hands_its_job_back(
    installation: Installation,
) -> None:
    job = installation.submit("steps:100")
    worker = installation.start_worker("one")
    installation.running_step(job, 5)
    worker.send_signal(signal.SIGTERM)
    installation.wait_for(job, State.QUEUED)
    assert worker.wait(timeout=20) == 0
    assert not installation.engines(job)
    installation.start_worker("two")
    installation.wait_for(job, State.SUCCEEDED)
    assert job.epoch == 2
    assert not installation.history(job, "from-")[1].startswith("from-0 ")


def test_a_killed_workers_job_is_taken_up(installation: Installation) -> None:
    job = installation.submit("steps:100")
    worker = installation.start_worker("one")
    installation.running_step(job, 5)
    worker.kill()
    worker.wait()
    # The engine dies with its supervisor, long before anybody knows of it.
    until = time.monotonic() + 2
    while installation.engines(job) and time.monotonic() < until:
        time.sleep(0.02)
    assert not installation.engines(job)
    installation.start_worker("two")
    installation.wait_for(job, State.SUCCEEDED)
    assert job.epoch == 2
    assert not installation.history(job, "from-")[1].startswith("from-0 ")
    assert len(installation.history(job, "end")) == 1
    checkpoints = list(job.checkpoints.order_by("step").values_list("step", flat=True))
    assert len(checkpoints) == len(set(checkpoints))


def test_a_killed_engine_is_started_again(installation: Installation) -> None:
    job = installation.submit("steps:60")
    installation.start_worker()
    installation.running_step(job, 10)
    (engine,) = installation.engines(job)
    os.kill(engine, signal.SIGKILL)
    installation.wait_for(job, State.SUCCEEDED)
    assert job.epoch == 2 and job.attempts.first().outcome == "killed"
    assert not installation.history(job, "from-")[1].startswith("from-0 ")


@pytest.mark.parametrize("engine_too", [False, True])
def test_a_stopped_worker_that_wakes_up_changes_nothing(
    installation: Installation, engine_too: bool
) -> None:
    # More steps than fit into a lease: the first engine must not end by itself.
    job = installation.submit("steps:400")
    worker = installation.start_worker("one")
    installation.running_step(job, 5)
    (engine,) = installation.engines(job)
    worker.send_signal(signal.SIGSTOP)
    if engine_too:
        os.kill(engine, signal.SIGSTOP)
    installation.start_worker("two")
    installation.wait_until(lambda: len(installation.history(job, "begin")) == 2)
    assert engine not in installation.engines(job)  # the takeover has ended it
    worker.send_signal(signal.SIGCONT)
    installation.wait_for(job, State.SUCCEEDED)
    assert job.epoch == 2
    assert len(installation.history(job, "end")) == 1
    late = JobEvent.objects.filter(job=job, kind="state", epoch=1)
    reasons = [event.payload["state"] for event in late]
    assert reasons == [State.QUEUED, State.CLAIMED, State.RUNNING, State.QUEUED] or (
        reasons == [State.CLAIMED, State.RUNNING, State.QUEUED]
    )
    # The one that woke up is a whole worker again.
    other = installation.submit("succeed")
    installation.workers[1].terminate()
    installation.workers[1].wait(timeout=20)
    installation.wait_for(other, State.SUCCEEDED)


@pytest.mark.parametrize(
    "installation",
    [pytest.param("postgresql", marks=pytest.mark.service)],
    indirect=True,
)
def test_who_stops_within_a_transaction_does_not_keep_the_job(
    installation: Installation,
) -> None:
    job = installation.submit("steps:60")
    worker = installation.start_worker("one")
    installation.running_step(job, 5)
    with pytest.raises(InternalError), transaction.atomic():
        Job.objects.filter(id=job.id).update(step=1)  # and we hold its row
        worker.kill()
        worker.wait()
        installation.start_worker("two")
        installation.wait_until(lambda: len(installation.history(job, "begin")) == 2)
        Job.objects.count()
    connection.close()
    installation.wait_for(job, State.SUCCEEDED)


def test_two_workers_run_ten_jobs_once_each(installation: Installation) -> None:
    installation.start_worker("one")
    installation.start_worker("two")
    jobs = [installation.submit("succeed") for _ in range(10)]
    for job in jobs:
        installation.wait_for(job, State.SUCCEEDED, seconds=60)
    assert all(len(installation.history(job, "begin")) == 1 for job in jobs)
    assert set(Job.objects.values_list("epoch", flat=True)) == {1}


def test_a_job_that_needs_a_service_waits_for_a_worker_that_has_one(
    installation: Installation,
) -> None:
    """Whoever got the message: the worker without one passes the job by, and does the
    one behind it."""
    installation.start_worker("plain", MOTHERTONGUE_TRANSLATOR_URL="")
    installation.wait_until(lambda: Host.objects.filter(seen_at__isnull=False).exists())
    needy = installation.submit("succeed", needs_service=True)
    installation.wait_for(installation.submit("succeed"), State.SUCCEEDED)
    needy.refresh_from_db()
    assert (needy.state, needy.epoch) == (State.QUEUED, 0)
    assert "MOTHERTONGUE_TRANSLATOR_URL" in state_sentence(needy)
    installation.start_worker("served", MOTHERTONGUE_TRANSLATOR_URL="http://x/v1")
    installation.wait_for(needy, State.SUCCEEDED)
    assert needy.host is not None and needy.host.has_service


def test_a_job_without_a_message_runs(
    installation: Installation, settings: object
) -> None:
    installation.start_worker()
    installation.wait_until(lambda: Host.objects.filter(seen_at__isnull=False).exists())
    settings.BROKER_URL = ""  # the site's message is lost
    job = installation.submit("succeed")
    installation.wait_for(job, State.SUCCEEDED, seconds=20)


def test_a_job_that_always_takes_its_worker_along_ends(
    installation: Installation,
) -> None:
    job = installation.submit("steps:100000")
    Job.objects.filter(id=job.id).update(attempts_left=1)
    worker = installation.start_worker("one")
    installation.wait_for(job, State.RUNNING)
    worker.kill()
    worker.wait()
    Job.objects.filter(id=job.id).update(attempts_left=0)  # no checkpoint was reached
    installation.start_worker("two")
    installation.wait_for(job, State.FAILED)
    assert job.cause == "poison"
