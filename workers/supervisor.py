"""One claimed job, from its files to its end.

The supervisor starts the engine, watches it and says how it ended. What it watches is
the process, the clock and what the lease's thread has learnt: it makes no call to the
database while the engine runs, and so nothing but the engine can hold it up.
"""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _

from training.errors import TrainingError
from webapp.jobs import moves, services
from webapp.jobs.models import Desired, Job
from workers.devices import Device, out_of_memory_kills
from workers.lease import DATABASE_AWAY, Lease
from workers.outcomes import (
    Ending,
    describe_death,
    describe_failure,
    unexpected_hint,
)
from workers.processes import Child, child_environment
from workers.progress import Mirror, last_failure
from workers.publishing import prepare_publication
from workers.run_folder import RunFolder
from workers.staging import stage_spec

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.1
REPORT_SECONDS = 600.0  # how long to try to say how a job ended
RETRY_SECONDS = 1.0
# glibc gives memory back after every step and faults it in again; keeping it took bf16
# training on two cores from 2,828 to 4,126 tokens/s (measured: docs/workers.md).
ENGINE_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    # oneDNN, which multiplies bfloat16 on a CPU, keeps code and buffers for each of the
    # last 1,024 shapes: with batches of ever other lengths memory rose by 20 MB a step,
    # of a base of 4.4 million weights. With fewer it stays, and is no slower.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "16",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

Answer = TypeVar("Answer")


class Lost(Exception):
    """The job is another worker's now: end everything, write nothing."""


def supervise(
    job: Job, device: Device, stop: threading.Event, *, claimed_at: float
) -> None:
    """Run a claimed job to its end on `device`; `stop` hands it back to the queue.

    `claimed_at` is the monotonic time just before the claim. Never raises.
    """
    log.info("job %s: epoch %d begins on %s", job.id, job.epoch, device.name)
    lease = Lease(job, claimed_at=claimed_at)
    lease.start()
    try:
        Supervisor(job, device, stop, lease).run()
    except Lost:
        log.warning("job %s: epoch %d writes nothing more", job.id, job.epoch)
    except DATABASE_AWAY:
        log.exception("job %s: its end could not be reported", job.id)
        connection.close()
    finally:
        lease.close()


class Supervisor:
    """Runs the engine for one job under one epoch."""

    def __init__(
        self, job: Job, device: Device, stop: threading.Event, lease: Lease
    ) -> None:
        self.job = job
        self.device = device
        self.stop = stop
        self.lease = lease
        self.folder = RunFolder(job.id)
        self.asked = False  # whether the engine was asked to stop

    def run(self) -> None:
        """From the claim to the last edge; raises Lost."""
        try:
            ending = self._train()
            if ending.succeeded:
                self._succeed()
            elif ending.stopped:
                self._finish(moves.finish_stopped)
            elif ending.died:
                self._finish(moves.finish_lost, **describe_death(ending))
            else:
                self._finish(moves.finish_failed, **describe_failure(ending))
        except TrainingError as refusal:
            failure = refusal.as_dict()
            self._finish(moves.finish_failed, cause=failure.pop("code"), **failure)
        except (Lost, *DATABASE_AWAY):
            raise
        except Exception as problem:
            log.exception("job %s: unexpected failure in the worker", self.job.id)
            self._finish(
                moves.finish_failed,
                cause="unexpected",
                sentence=_("Something unexpected happened in the worker: %s") % problem,
                hint=unexpected_hint(),
            )

    def _train(self) -> Ending:
        spec = stage_spec(self.job.spec, self.folder.path / "inputs")
        epoch = self.job.epoch
        with self.folder.locked(epoch, lambda: not self._must_stop()) as lock:
            if lock is None or self._must_stop():
                self._check_lease()
                return Ending(code=-signal.SIGTERM, asked=True)
            goes_on = self.folder.begin(epoch, spec)
            if not goes_on and self.job.events_offset:
                self._persist(moves.restart_events)
            begun_at, kills = self._events_size(), out_of_memory_kills()
            child = self._start(lock)
        # The lock is the engine's alone now: it is free when the engine is gone.
        try:
            self.folder.record(epoch, child)
            self.lease.mirror = Mirror(
                self.folder.events,
                job_id=self.job.id,
                epoch=epoch,
                offset=self.job.events_offset if goes_on else 0,
            )
            self.lease.tell(moves.start_running)
            self._watch(child)
        finally:
            code = child.close()
        log.info("job %s: the engine ended with code %d", self.job.id, code)
        self._check_lease()
        return Ending(
            code=code,
            asked=self.asked,
            failure=last_failure(self.folder.events, begun_at),
            tail=self.folder.log_tail(),
            out_of_memory=out_of_memory_kills() > kills,
        )

    def _start(self, lock: int) -> Child:
        engine = shlex.split(settings.ENGINE) or [sys.executable, "-m", "training"]
        with self.folder.log.open("ab") as output:
            return Child(
                [*engine, str(self.folder.spec), str(self.folder.path)],
                environment=child_environment(
                    **ENGINE_ENVIRONMENT, **self.device.environment
                ),
                log=output,
                keep_open=(lock,),
            )

    def _watch(self, child: Child) -> None:
        """Until the engine has ended: stop it politely when asked, else by force.

        Without a renewal for SELF_FENCE_SECONDS it is asked to stop, and killed in time
        before anybody else may take the job.
        """
        fence = settings.SELF_FENCE_SECONDS
        fenced_kill = fence + (settings.LEASE_SECONDS - fence) * 2 / 3
        deadline = float("inf")
        while not child.has_ended():
            late = time.monotonic() > deadline or self.lease.age > fenced_kill
            if late or self.lease.lost:
                return  # closing the child kills its whole session
            if not self.asked and (self._must_stop() or self.lease.age > fence):
                self.asked = True
                deadline = time.monotonic() + settings.STOP_GRACE_SECONDS
                self.lease.tell(moves.begin_stopping)
                child.terminate()
            time.sleep(WATCH_SECONDS)

    def _must_stop(self) -> bool:
        return (
            self.stop.is_set() or self.lease.lost or self.lease.desired != Desired.RUN
        )

    def _succeed(self) -> None:
        self._catch_up()
        report, publish = prepare_publication(self.job, self.folder.path)
        finished = self._persist(moves.finish_succeeded, report=report, publish=publish)
        if not finished:  # a cancel came first, or the lease is lost
            self._persist(moves.finish_stopped)
            return
        try:
            services.launch_wanted_control(job_id=self.job.id)
        except Exception:  # the job has succeeded, whatever becomes of its control
            log.exception("the control of job %s was not launched", self.job.id)

    def _finish(self, edge: Callable[..., bool], **facts: Any) -> None:
        self._catch_up()
        self._persist(edge, **facts)

    def _catch_up(self) -> None:
        if self.lease.mirror:
            self._until_answered(self.lease.mirror.catch_up)

    def _persist(self, edge: Callable[..., bool], **facts: Any) -> bool:
        self._check_lease()
        return self._until_answered(
            lambda: edge(job_id=self.job.id, epoch=self.job.epoch, **facts)
        )

    def _until_answered(self, operation: Callable[[], Answer]) -> Answer:
        """Repeat while the database is away. Edges are conditional: late does no harm."""
        until = time.monotonic() + REPORT_SECONDS
        while True:
            try:
                return operation()
            except DATABASE_AWAY as problem:
                connection.close()
                if time.monotonic() > until or self.stop.is_set():
                    raise
                log.warning("the database is away: %s", str(problem).strip())
                time.sleep(RETRY_SECONDS)

    def _check_lease(self) -> None:
        if self.lease.lost:
            raise Lost

    def _events_size(self) -> int:
        try:
            return self.folder.events.stat().st_size
        except FileNotFoundError:
            return 0
