"""Freed memory goes back to the system where the allocator was told to keep it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Every second piece is freed, so that the heap cannot simply become shorter.
HOLES = """
import re
from training.freed_memory import give_back
pieces = [b"x" * 2**20 for _ in range(80)]
del pieces[::2]
def resident():
    status = open("/proc/self/status").read()
    return int(re.search(r"VmRSS:\\s+(\\d+)", status)[1]) // 1024
kept = resident()
give_back()
print(kept, resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_stage_freed_goes_back_to_the_system() -> None:
    """With the worker's settings of glibc, which keep it."""
    keeping = {
        "MALLOC_MMAP_THRESHOLD_": str(2**33),
        "MALLOC_TRIM_THRESHOLD_": str(2**34),
    }
    done = subprocess.run(
        [sys.executable, "-c", HOLES],
        env={**os.environ, **keeping},
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    assert 35 <= before - after <= 45  # MB: the forty that were freed
