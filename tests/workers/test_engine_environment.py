"""What the worker sets for the engine, and what would happen without it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from workers.supervisor import ENGINE_ENVIRONMENT

# Bytes in use after two hundred matrices of ever other lengths, in bfloat16.
LENGTHS = """
import ctypes, torch
class Heap(ctypes.Structure):
    _fields_ = [(f"field_{n}", ctypes.c_size_t) for n in range(10)]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Heap
layer = torch.nn.Linear(256, 256)
def step(rows):
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.ones(rows, 256)).sum().backward()
step(8)
before = libc.mallinfo2().field_7
for rows in range(9, 209):
    step(rows)
print(libc.mallinfo2().field_7 - before)
"""


def kept(environment: dict[str, str]) -> int:
    """Bytes that are in use in the end and were not at first."""
    unset = {n: v for n, v in os.environ.items() if n not in ENGINE_ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-c", LENGTHS],
        env=unset | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_memory_does_not_rise_with_every_new_length_of_a_batch() -> None:
    without = kept({})
    if without < 50 * 10**6:
        pytest.skip("on this processor bfloat16 keeps nothing by shape")
    assert kept(ENGINE_ENVIRONMENT) < 0.25 * without
