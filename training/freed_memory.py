"""What was freed goes back to the operating system."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Hand freed memory back, between the moments of a run.

    The worker's settings of glibc keep it (workers/supervisor.py): steps are faster with
    it, but a model that is read back is mapped from its file beside it. Nothing happens
    where the allocator is another.
    """
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
