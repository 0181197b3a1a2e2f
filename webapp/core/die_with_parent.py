"""Become another program that cannot outlive the process that started it.

    python -I -S webapp/core/die_with_parent.py PARENT_PID PROGRAM ARGUMENT...

Run as a file, standard library only. Where the system has no such request (macOS), the
program is started all the same and ended by its parent alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; kept across exec


def main(parent: int, command: list[str]) -> None:
    """Ask to be killed when the parent dies, then exec `command`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request was in place
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
