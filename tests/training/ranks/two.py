"""Start two processes of a module of the tests and wait for both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_both(module: str, folder: Path) -> None:
    """Run `module RANK FOLDER` as two processes; fails with the log of one that fails."""
    command = [sys.executable, "-m", module]
    processes = []
    for rank in range(2):
        environment = {
            **os.environ,
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
            **{"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
            "GLOO_SOCKET_IFNAME": "lo",
        }
        with (folder / f"{rank}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [*command, str(rank), str(folder)],
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    try:
        for rank, process in enumerate(processes):
            code = process.wait(timeout=500)
            assert code == 0, (folder / f"{rank}.log").read_text()[-3000:]
    finally:
        for process in processes:
            process.kill()
