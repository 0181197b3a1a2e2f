"""The event file of a run, read on and mirrored to the database.

What the engine writes is cleaned first: a database refuses NUL characters, halves of
surrogate pairs and numbers that are not finite, and one such value would block all
that comes after it.
"""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError

from training.events import Event, read_events
from webapp.jobs import moves

log = logging.getLogger(__name__)

# Fields without which an event cannot be mirrored, and their types.
NEEDED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "job_started": {"stages": list},
    "stage_started": {"stage": str, "index": int},
    "progress": {"stage": str},
    "evaluation": {"stage": str},
    "checkpoint": {"stage": str, "step": int, "path": str, "manifest_sha256": str},
    "stage_finished": {"stage": str, "index": int},
}


class Mirror:
    """Mirrors one event file under one epoch, from `offset` (bytes) on."""

    def __init__(self, path: Path, *, job_id: UUID, epoch: int, offset: int) -> None:
        self.path = path
        self.job_id = job_id
        self.epoch = epoch
        self.offset = offset
        self._one_at_a_time = threading.Lock()

    def catch_up(self) -> bool:
        """Mirror what is new; False when the lease is lost.

        Raises OperationalError or InterfaceError where the database is away: nothing is
        skipped then. Events that it refuses for another reason are skipped and logged.
        """
        with self._one_at_a_time:
            return self._catch_up()

    def _catch_up(self) -> bool:
        events, offset = read_events(self.path, self.offset)
        if offset == self.offset:
            return True
        good = [cleaned(event) for event in events if is_well_formed(event)]
        if len(good) < len(events):
            log.warning("%s: malformed events were skipped", self.path)
        try:
            held = self._write(good, offset)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            log.exception("%s: events up to byte %d are skipped", self.path, offset)
            held = self._write([], offset)
        self.offset = offset
        for event in good:
            _log(event)
        return held

    def _write(self, events: list[Event], offset: int) -> bool:
        return moves.mirror_events(
            job_id=self.job_id, epoch=self.epoch, events=events, offset=offset
        )


def is_well_formed(event: Event) -> bool:
    """Whether an event has the fields that mirroring reads."""
    needed = {"time": (int, float), **NEEDED.get(event["kind"], {})}
    return all(isinstance(event.get(name), kind) for name, kind in needed.items())


def cleaned(value: Any) -> Any:
    """The same value with nothing in it that a database refuses."""
    if isinstance(value, str):
        whole = value.replace("\x00", "\ufffd")
        return whole.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {cleaned(key): cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [cleaned(inner) for inner in value]
    return value


def last_failure(path: Path, offset: int) -> Event | None:
    """The newest "failed" event after byte `offset`."""
    events, _ = read_events(path, offset)
    failures = [event for event in events if event["kind"] == "failed"]
    return cleaned(failures[-1]) if failures else None


def _log(event: Event) -> None:
    """One line for whoever watches the worker's terminal."""
    kind, stage = event["kind"], event.get("stage", "")
    if kind in ("progress", "evaluation"):
        log.info(
            "%s %s: step %s of %s", kind, stage, event.get("step"), event.get("total")
        )
    elif kind in ("note", "failed"):
        log.info("%s: %s", kind, event.get("sentence"))
    else:
        log.info("%s %s", kind, stage)
