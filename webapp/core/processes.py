"""Child processes of one machine: started, watched, started again, ended.

Each runs in a process group of its own and dies with its parent, however that ends.
Its lines go to the terminal under its name and into `<folder>/<name>.log`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from webapp.core.die_with_parent import bound

ROOT = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
# One that ran so long before it ended is started again without a longer pause.
STEADY_SECONDS = 60.0
# So long those that come last wait at most.
LAST_WAIT_SECONDS = 20.0
LOG_BYTES = 10_000_000  # a longer log is put aside as .1 at the next start


@dataclass(frozen=True)
class Program:
    """What to run, and how long it may take to end after SIGTERM."""

    name: str
    command: list[str]
    grace_seconds: float
    last: bool = False  # leaves the processor to the others until all is ready


@dataclass
class Watched:
    """A program and its process, if one runs."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS
    start_at: float = 0.0
    reader: threading.Thread | None = field(default=None, repr=False)


class Processes:
    """The programs of one machine. Use from one thread: children die with it."""

    def __init__(
        self,
        programs: Iterable[Program],
        *,
        environment: Mapping[str, str],
        logs: Path,
        say: Callable[[str], None],
    ) -> None:
        self.watched = [Watched(program) for program in programs]
        self.environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self.logs = logs
        self.say = say
        self.stopping = threading.Event()

    def run(self, ready: Callable[[], bool] | None = None) -> None:
        """Until `stop`; `ready` is asked until it says yes."""
        self.logs.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        try:
            while not self.stopping.is_set():
                now = time.monotonic()
                waiting = ready is not None and now - began < LAST_WAIT_SECONDS
                for one in self.watched:
                    if not (one.program.last and waiting):
                        self._look(one, now)
                if ready and ready():
                    ready = None
                self.stopping.wait(LOOK_SECONDS)
        finally:
            self._end()

    def stop(self) -> None:
        """Ask for the end; a second time, kill."""
        if self.stopping.is_set():
            for one in self.watched:
                self._kill(one)
        self.stopping.set()

    def _look(self, one: Watched, now: float) -> None:
        if one.process is None:
            if now >= one.start_at:
                self._start(one, now)
            return
        code = one.process.poll()
        if code is None:
            return
        self._kill(one)  # what it may have left in its group
        if now - one.started >= STEADY_SECONDS:
            one.pause = FIRST_PAUSE_SECONDS
        self.say(
            f"{one.program.name} ended ({_why(code)}); it is started again in "
            f"{one.pause:.0f} s. Its log: {self.logs / one.program.name}.log"
        )
        one.process, one.start_at = None, now + one.pause
        one.pause = min(one.pause * 2, LONGEST_PAUSE_SECONDS)

    def _start(self, one: Watched, now: float) -> None:
        one.process = subprocess.Popen(
            bound(one.program.command),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        one.started = now
        one.reader = threading.Thread(
            target=self._relay, args=(one.program.name, one.process), daemon=True
        )
        one.reader.start()

    def _relay(self, name: str, process: subprocess.Popen[bytes]) -> None:
        path = self.logs / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        assert process.stdout
        with path.open("ab", buffering=0) as log:
            for line in process.stdout:
                log.write(line)
                self.say(f"{name:>6} | {line.decode(errors='replace').rstrip()}")

    def _end(self) -> None:
        """SIGTERM to all; SIGKILL to each that does not end within its grace."""
        self.stopping.set()
        for one in self.watched:
            if one.process and one.process.poll() is None:
                one.process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        while any(one.process and one.process.poll() is None for one in self.watched):
            for one in self.watched:
                if time.monotonic() - asked > one.program.grace_seconds:
                    self._kill(one)
            time.sleep(LOOK_SECONDS)
        for one in self.watched:
            self._kill(one)
            if one.reader:
                one.reader.join(1.0)

    @staticmethod
    def _kill(one: Watched) -> None:
        if one.process:
            try:
                os.killpg(one.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                return  # nobody is left in the group


def _why(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
