"""Become another program that cannot outlive the process that started it.

    python -I -S webapp/core/die_with_parent.py PARENT_PID SCORE PROGRAM ARGUMENT...

Run as a file, standard library only. A `preexec_fn` would do the same but may hang in a
process with threads (documentation of `subprocess`), and the worker has threads. Where
the system has no such request (macOS), the program is started all the same and ended by
its parent alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h; kept across exec


def bound(command: Sequence[str], score: int = 0) -> list[str]:
    """The command that starts `command` so, for the process that asks. The kernel takes
    a program with a higher `score` first where memory runs out; 0 leaves that as it is.
    """
    own = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(score)]
    return [*own, *command]


def main(parent: int, score: int, command: list[str]) -> None:
    """Ask to be killed when the parent dies, then exec `command`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            if score:
                Path("/proc/self/oom_score_adj").write_text(str(score))
        except OSError:
            pass  # not allowed here: the kernel chooses by size alone
    if os.getppid() != parent:  # it died before the request was in place
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
