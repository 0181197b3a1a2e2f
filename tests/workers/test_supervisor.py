"""When the supervisor ends an engine: what it watches is the clock and the lease."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from webapp.jobs import moves
from webapp.jobs.models import Desired
from workers import supervisor
from workers.devices import Device
from workers.supervisor import Supervisor


class Lease:
    """A lease that was renewed last when the test began; a look takes a second."""

    def __init__(self) -> None:
        self.looks, self.lost, self.desired = 0.0, False, Desired.RUN
        self.renewed: set[float] = set()
        self.told: list[Any] = []

    @property
    def age(self) -> float:
        return self.looks

    def tell(self, edge: Any) -> None:
        self.told.append(edge)


class Engine:
    """Never ends by itself; each look at it lets a second of the lease pass."""

    def __init__(self, lease: Lease, until: int = 1_000) -> None:
        self.lease, self.until = lease, until
        self.asked_at: float | None = None

    def has_ended(self) -> bool:
        self.lease.looks += 1
        return self.lease.looks > self.until

    def terminate(self) -> None:
        self.asked_at = self.lease.looks


@pytest.fixture
def lease(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lease:
    settings.RUNS = tmp_path
    settings.LEASE_SECONDS, settings.SELF_FENCE_SECONDS = 60, 45
    settings.STOP_GRACE_SECONDS = 10_000  # not what ends it here
    monkeypatch.setattr(supervisor, "WATCH_SECONDS", 0.0)
    return Lease()


def watch(lease: Lease, engine: Engine) -> Supervisor:
    job: Any = SimpleNamespace(id=uuid4(), epoch=1)
    made = Supervisor(job, Device("cpu", "cpu", 0), threading.Event(), lease)  # type: ignore[arg-type]
    made._watch(engine)  # type: ignore[arg-type]
    return made


def test_without_a_renewal_it_is_asked_and_then_ended_before_the_lease_is_over(
    lease: Lease,
) -> None:
    engine = Engine(lease)
    made = watch(lease, engine)
    assert engine.asked_at == 46 and lease.told == [moves.begin_stopping]
    assert made.asked
    assert lease.looks == 56  # 45 and two thirds of what is left; nobody may claim yet


def test_with_a_fresh_lease_it_runs_to_its_end(lease: Lease) -> None:
    engine = Engine(lease, until=40)
    assert not watch(lease, engine).asked
    assert engine.asked_at is None and lease.looks == 41


def test_a_lost_lease_ends_it_at_once(lease: Lease) -> None:
    lease.lost = True
    engine = Engine(lease)
    watch(lease, engine)
    assert lease.looks == 1 and engine.asked_at is None


@pytest.mark.parametrize("desired", [Desired.CANCEL, Desired.PAUSE])
def test_who_is_not_wanted_has_its_grace(
    lease: Lease, settings: Any, desired: str
) -> None:
    settings.STOP_GRACE_SECONDS = 0
    lease.desired = desired
    engine = Engine(lease)
    watch(lease, engine)
    assert engine.asked_at == 1 and lease.looks < 5
