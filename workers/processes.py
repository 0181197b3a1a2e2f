"""Child processes: started in a session of their own, ended with all they started.

A process is identified by its pid and its start time, since pids are used again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from webapp.core.die_with_parent import bound

OUT_OF_MEMORY_SCORE = 500  # the kernel takes the trainer before the supervisor
ROOT = Path(__file__).resolve().parent.parent
KILL_SECONDS = 30.0  # a process in the kernel's hands may take a while to go

# What a child may know. Everything else stays here: keys, addresses, tokens.
ENVIRONMENT = {
    "HOME",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PATH",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
}
ENVIRONMENT_PREFIXES = (
    "CUDA_",
    "KMP_",
    "LC_",
    "MKL_",
    # Whom the engine may ask for translations, with the key: the one thing outside.
    "MOTHERTONGUE_TRANSLATOR_",
    "NCCL_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "PYTORCH_",
    "TORCH_",
    "TRITON_",
)


@dataclass(frozen=True)
class Process:
    """One process of this machine; `started` is in clock ticks since boot."""

    pid: int
    started: int
    session: int
    state: str

    @property
    def lives(self) -> bool:
        """Whether it can still do anything (a zombie cannot)."""
        return self.state not in "ZX"


def look_up(pid: int) -> Process | None:
    """What the kernel says of a pid; None where there is no such process."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = line[line.rindex(")") + 2 :].split()  # the name may hold anything
    return Process(pid, int(fields[19]), int(fields[3]), fields[0])


def session_members(session: int) -> Iterator[Process]:
    """The living processes of a session."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            process = look_up(int(folder.name))
            if process and process.session == session and process.lives:
                yield process


def kill_session(session: int, *, seconds: float = KILL_SECONDS) -> bool:
    """SIGKILL every process of a session; whether all are gone in time."""
    until = time.monotonic() + seconds
    while members := list(session_members(session)):
        for member in members:
            try:
                os.kill(member.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def machine() -> str:
    """Within what pids mean something: this boot and this pid namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        return f"{boot.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def child_environment(**extra: str) -> dict[str, str]:
    """The environment of a child: what it needs to compute; no secret but the key of
    a translation service where the operator names one."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ENVIRONMENT or name.startswith(ENVIRONMENT_PREFIXES)
    }
    return {**kept, "PYTHONUNBUFFERED": "1", **extra}


class Child:
    """A program in its own session that dies with the thread that started it.

    It is not reaped before `close`: until then its pid, and with it the number of its
    session, cannot be given to anybody else.
    """

    def __init__(
        self,
        command: list[str],
        *,
        environment: dict[str, str],
        log: IO[bytes] | None = None,
        keep_open: tuple[int, ...] = (),
    ) -> None:
        self._popen = subprocess.Popen(
            bound(command, OUT_OF_MEMORY_SCORE),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=None if log is None else subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep_open,
        )
        self.pid = self._popen.pid
        found = look_up(self.pid)
        self.started = found.started if found else 0

    def has_ended(self) -> bool:
        """Whether the program itself has ended; what it started may live on."""
        if self._popen.returncode is not None:
            return True
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def terminate(self) -> None:
        """SIGTERM to the program alone: it knows what to do with what it started."""
        if not self.has_ended():
            os.kill(self.pid, signal.SIGTERM)

    def close(self) -> int:
        """End whatever is left of the session; returns the exit code (-signal)."""
        if self._popen.returncode is None:
            kill_session(self.pid)
            self._popen.wait(timeout=KILL_SECONDS)
        return self._popen.returncode
