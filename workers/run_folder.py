"""The folder a job runs in, RUNS/<job id>: one for all its attempts on this machine.

    spec.json      the job with paths of this machine, written anew by every attempt
    events.jsonl   what the engine says (training/events.py)
    log.txt        what it prints, of all attempts
    lock           held by the engine's processes, and by nobody else
    engine.json    which process that is, and under which epoch
    stages/, work/ the engine's own (training/run.py)

Another attempt goes on in the same folder, so the engine of the attempt before must be
gone. Three things see to that. It dies with its supervisor (die_with_parent.py). Its
supervisor kills it when the lease is lost. And a new attempt waits for the lock, which
the kernel frees when the last process that inherited it is gone; while it waits it
kills the engine of an older epoch by pid and start time, which also ends one whose
supervisor is stopped and cannot. The supervisor itself never keeps the lock.

Where RUNS is shared between machines, the lock works as far as the file system carries
flock(2) to the other machines; pids are only compared on the machine that wrote them.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.conf import settings

from workers.processes import Child, kill_session, look_up, machine

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.1
TAIL_BYTES = 4000


class RunFolder:
    """Paths and the lock of one job's run."""

    def __init__(self, job_id: UUID) -> None:
        self.path: Path = settings.RUNS / str(job_id)
        self.path.mkdir(parents=True, exist_ok=True)
        self.spec = self.path / "spec.json"
        self.events = self.path / "events.jsonl"
        self.log = self.path / "log.txt"
        self.engine = self.path / "engine.json"

    @contextmanager
    def locked(self, epoch: int, may_wait: Callable[[], bool]) -> Iterator[int | None]:
        """A descriptor of the lock to hand to the engine; None where it was not had.

        Ends the engine of an older epoch. `may_wait` says whether to go on waiting.
        """
        with (self.path / "lock").open("ab") as file:
            while not _try_lock(file):
                self._end_older(epoch)
                if not may_wait():
                    yield None
                    return
                time.sleep(WAIT_SECONDS)
            yield file.fileno()

    def begin(self, epoch: int, spec: dict[str, Any]) -> bool:
        """Write the spec; whether the event file goes on where the last epoch ended.

        Where the job ran elsewhere in between, the old event file is put aside: what is
        in it is not what the database has read. Call with the lock held.
        """
        goes_on = self._record().get("epoch") in (epoch - 1, epoch)
        if not goes_on and self.events.exists():
            self.events.rename(self.events.with_name(f"events.before-{epoch}.jsonl"))
        self._end_half_line()
        self._write(self.engine, {"epoch": epoch})
        self._write(self.spec, spec)
        return goes_on and self.events.exists()

    def record(self, epoch: int, child: Child) -> None:
        """Write down which process is the engine now."""
        facts = {"pid": child.pid, "started": child.started, "machine": machine()}
        self._write(self.engine, {"epoch": epoch, **facts})

    def log_tail(self) -> str:
        """The last line that the engine printed, for a failure that says nothing."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, os.path.getsize(self.log) - TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        full = [line.strip() for line in lines if line.strip()]
        return full[-1][:300].replace("\x00", "") if full else ""

    def _end_half_line(self) -> None:
        """What a killed engine was writing would spoil the next one's first event."""
        if self.events.exists() and self.events.stat().st_size:
            with self.events.open("rb+") as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")

    def _end_older(self, epoch: int) -> None:
        engine = self._record()
        if engine.get("machine") != machine() or engine.get("epoch", epoch) >= epoch:
            return
        process = look_up(engine["pid"])
        if process and process.started == engine["started"] and process.lives:
            log.warning(
                "ending the engine of epoch %s in %s", engine["epoch"], self.path
            )
            kill_session(engine["pid"])

    def _record(self) -> dict[str, Any]:
        try:
            return json.loads(self.engine.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}

    def _write(self, path: Path, facts: dict[str, Any]) -> None:
        temporary = path.with_name(path.name + ".part")
        temporary.write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
        temporary.rename(path)


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
