"""This machine as a worker: its devices, the jobs on them and its regular duties.

The same object serves both ways of being told of jobs. `python -m workers` calls `look`
every second; under Celery messages call `work`, and `look` runs at longer intervals, so
that a job whose message was lost is found all the same.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now

from training.spec import service_is_named
from webapp.jobs import edges, moves
from webapp.jobs.models import Host
from workers.devices import Device, list_devices
from workers.lease import DATABASE_AWAY
from workers.readings import Readings
from workers.supervisor import supervise

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
TIDY_SECONDS = 3600.0


class WorkerHost:
    """Runs at most one job on each device at a time. `stop` ends everything politely."""

    def __init__(self, name: str, queues: list[str], devices: list[Device]) -> None:
        self.queues = queues
        self.stop = threading.Event()
        self.row, _ = Host.objects.update_or_create(
            name=name,
            defaults={
                "devices": [device.as_dict() for device in devices],
                "has_service": service_is_named(),
            },
        )
        self._free: queue.SimpleQueue[Device] = queue.SimpleQueue()
        for device in devices:
            self._free.put(device)
        self._threads: list[threading.Thread] = []
        self._readings = Readings()
        self._duties = [
            Duty(HEARTBEAT_SECONDS, self._beat),
            Duty(settings.LEASE_SECONDS / 4, moves.reconcile),
            Duty(0.0, self._readings.look),
            Duty(TIDY_SECONDS, self._tidy, at_once=False),
        ]
        log.info("%s: %s", name, ", ".join(device.name for device in devices))

    def serve(self, interval: float) -> None:
        """Look every `interval` seconds until `stop`, then wait for the jobs' ends."""
        while not self.stop.is_set():
            self.look()
            self.stop.wait(interval)
        self.close()

    def run_out(self) -> None:
        """Run the jobs that wait now to their ends, and the readings."""
        self.look()
        for thread in self._threads:
            thread.join()
        self.close()

    def look(self) -> None:
        """Do the duties that are due and start jobs that wait. Never raises."""
        for duty in self._duties:
            guarded(duty.do_if_due)
        guarded(self._start_waiting)

    def work(self, job_id: UUID | None = None) -> bool:
        """Claim a job (that one, or the oldest that waits) and run it to its end.

        False where nothing was claimed: no device is free, or somebody else has it.
        """
        try:
            device = self._free.get_nowait()
        except queue.Empty:
            return False
        try:
            claimed_at = time.monotonic()
            job = moves.claim_job(host=self.row, queues=self.queues, job_id=job_id)
            if job is None:
                return False
            supervise(job, device, self.stop, claimed_at=claimed_at)
            return True
        finally:
            self._free.put(device)

    def work_on(self) -> None:
        """Run jobs one after the other until none waits. Never raises."""
        try:
            while not self.stop.is_set() and self.work():
                continue
        except DATABASE_AWAY as problem:
            log.warning("the database is away: %s", str(problem).strip())
        except Exception:
            log.exception("taking a job failed")
        finally:
            connection.close()

    def close(self) -> None:
        """Hand jobs back to the queue after a checkpoint, end readings."""
        self.stop.set()
        self._readings.close()
        for thread in self._threads:
            thread.join()

    def _start_waiting(self) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if self.stop.is_set() or self._free.empty():
            return
        if edges.waiting_for(self.row).filter(queue__in=self.queues).exists():
            # The thread starts the engine, which dies with it (die_with_parent.py).
            thread = threading.Thread(target=self.work_on, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _tidy(self) -> None:
        # In a thread: removing large folders takes its time. It may end half-way.
        threading.Thread(target=_tidy_now, daemon=True).start()

    def _beat(self) -> None:
        Host.objects.filter(id=self.row.id).update(seen_at=Now())


class Duty:
    """Something to do every so many seconds."""

    def __init__(
        self, seconds: float, do: Callable[[], object], *, at_once: bool = True
    ) -> None:
        self.seconds = seconds
        self.do = do
        self._due = 0.0 if at_once else time.monotonic() + seconds

    def do_if_due(self) -> None:
        """Do it, and set the next time before that: a failure waits its turn."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self.seconds
            self.do()


def guarded(do: Callable[[], object]) -> None:
    """Call `do`; a failure is logged and the worker lives on."""
    try:
        do()
    except DATABASE_AWAY as problem:
        log.warning("the database is away: %s", str(problem).strip())
        connection.close()
    except Exception:
        log.exception("a duty of the worker failed")


def _tidy_now() -> None:
    guarded(lambda: call_command("tidy"))
    connection.close()


def this_machine(name: str, queues: list[str]) -> WorkerHost:
    """The worker of this machine, its devices found."""
    return WorkerHost(name, queues, list_devices(queues, settings.GPUS_PER_JOB))
