"""Holding a claimed job: renews its lease, watches what people want, tells its progress.

All of it happens in a thread of its own with its own database connection, so that a
database that hangs cannot keep the supervisor from ending the engine in time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, connection

from webapp.jobs import moves
from webapp.jobs.models import Desired, Job
from workers.progress import Mirror

log = logging.getLogger(__name__)

MIRROR_SECONDS = 2.0  # the database is told no more often than this
# An InternalError is how PostgreSQL says that it has ended an idle transaction.
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)

Edge = Callable[..., bool]


class Lease(threading.Thread):
    """One job's lease. `lost` and `desired` are what the database said last."""

    def __init__(self, job: Job, *, claimed_at: float) -> None:
        super().__init__(name=f"lease of job {job.id}", daemon=True)
        self.job = job
        self.lost = False
        self.desired: str = Desired.RUN
        self.mirror: Mirror | None = None
        self._renewed_at = claimed_at
        self._edges: deque[Edge] = deque()
        self._wake = threading.Event()
        self._closed = False

    @property
    def age(self) -> float:
        """Seconds since the last renewal was asked for that succeeded."""
        return time.monotonic() - self._renewed_at

    def tell(self, edge: Edge) -> None:
        """Have an edge of moves.py made as soon as the database answers."""
        self._edges.append(edge)
        self._wake.set()

    def close(self) -> None:
        """Stop renewing. Does not wait for a database that hangs."""
        self._closed = True
        self._wake.set()
        self.join(timeout=MIRROR_SECONDS)

    def run(self) -> None:
        """Renew, look and mirror until closed or lost."""
        pause = min(MIRROR_SECONDS, settings.LEASE_RENEWAL_SECONDS / 2)
        while not self._closed and not self.lost:
            try:
                self._tick()
            except DATABASE_AWAY as problem:
                log.warning("the database is away: %s", str(problem).strip())
                connection.close()
            except Exception:
                log.exception("job %s: reporting failed; the run goes on", self.job.id)
            self._wake.wait(pause)
            self._wake.clear()
        connection.close()

    def _tick(self) -> None:
        if self.age >= settings.LEASE_RENEWAL_SECONDS:
            self._renew()
        else:
            self._look()
        while self._edges and not self.lost:
            self._edges[0](job_id=self.job.id, epoch=self.job.epoch)
            self._edges.popleft()
        if self.mirror and not self.lost and not self.mirror.catch_up():
            self._lose()

    def _renew(self) -> None:
        asked_at = time.monotonic()
        desired = moves.renew_lease(job_id=self.job.id, epoch=self.job.epoch)
        if desired is None:
            self._lose()
        else:
            self._renewed_at = asked_at
            self.desired = desired

    def _look(self) -> None:
        rows = Job.objects.filter(id=self.job.id, epoch=self.job.epoch)
        desired = rows.values_list("desired", flat=True).first()
        if desired is None:
            self._lose()
        else:
            self.desired = desired

    def _lose(self) -> None:
        self.lost = True
        if not self._closed:
            log.warning("job %s: epoch %d has lost it", self.job.id, self.job.epoch)
