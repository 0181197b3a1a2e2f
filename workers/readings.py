"""Uploads to read and base models to bring: each in a child process, beside the jobs."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from uuid import UUID

from django.conf import settings

from webapp.bases.services import claim_base
from webapp.datasets.services import claim_version
from workers.processes import Child

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.1


def next_version() -> UUID | None:
    """Take a dataset version that waits to be read."""
    version = claim_version()
    return version.id if version else None


def next_base() -> UUID | None:
    """Take a base model that waits to be brought."""
    base = claim_base()
    return base.id if base else None


class Readings:
    """At most one child for each kind of work."""

    KINDS: dict[str, Callable[[], UUID | None]] = {
        "version": next_version,
        "base": next_base,
    }

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    def look(self) -> None:
        """Start what waits where nothing of its kind is under way."""
        for kind, claim in self.KINDS.items():
            child = self._children.get(kind)
            if child and not child.has_ended():
                continue
            if child:
                self._end(kind)
            claimed = claim()
            if claimed:
                self._children[kind] = _start(kind, claimed)

    def close(self) -> None:
        """Let what is under way come to its end; after a while, end it."""
        until = time.monotonic() + settings.STOP_GRACE_SECONDS
        for kind, child in list(self._children.items()):
            while not child.has_ended() and time.monotonic() < until:
                time.sleep(WAIT_SECONDS)
            self._end(kind)

    def _end(self, kind: str) -> None:
        code = self._children.pop(kind).close()
        if code:
            log.warning("reading a %s ended with code %d", kind, code)


def _start(kind: str, claimed: UUID) -> Child:
    log.info("reading the %s %s", kind, claimed)
    # Our own program, unlike the engine: it needs the database and the storage.
    return Child(
        [sys.executable, "-m", "workers.reading", kind, str(claimed)],
        environment=dict(os.environ),
    )
