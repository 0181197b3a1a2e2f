"""Become another program that cannot outlive the process that started it.

    python -I -S workers/launch.py PARENT_PID PROGRAM ARGUMENT...

Run as a file, standard library only. A `preexec_fn` would do the same but may hang in a
process with threads (documentation of `subprocess`), and the worker has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h; kept across exec
OUT_OF_MEMORY_SCORE = "500"  # the kernel takes the trainer before the supervisor


def main(parent: int, command: list[str]) -> None:
    """Ask to be killed when the parent dies, then exec `command`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)
        except OSError:
            pass  # not allowed here: the kernel chooses by size alone
    if os.getppid() != parent:  # it died before the request was in place
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
