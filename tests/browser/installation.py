"""A whole installation for a browser: `manage.py serve` in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "test-results"
START_SECONDS = 300  # torch and gradio are read from a disk that others use too
END_SECONDS = 120


class Installation:
    """Site, worker and chat runtime, as somebody with one machine starts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "serve.log"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MOTHERTONGUE_") and name != "DATABASE_URL"
        }
        self.environment |= {
            "MOTHERTONGUE_DATA": str(folder),
            "PYTHONUNBUFFERED": "1",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until the site says that it is there."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--port", str(self.port)],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(
            lambda: "Everything is kept" in self.said() or self.process.poll(),
            START_SECONDS,
        )
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        """What the terminal showed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def first_link(self) -> str:
        """The address for the first sign-in, as it was printed."""
        found = re.search(r"once: (http://\S+)", self.said())
        assert found, self.said()
        return found.group(1)

    def manage(self, *arguments: str, seconds: float = START_SECONDS) -> str:
        """Run `manage.py` in this installation's environment; what it printed."""
        ended = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def end(self) -> None:
        """Ctrl-C, as a person ends it; nothing may be left."""
        assert self.process
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(END_SECONDS)
        finally:
            left = self.alive()
            for number in left:  # what a fault left behind must not stay here
                os.kill(number, signal.SIGKILL)
        assert code == 0, self.said()
        assert not left, f"left behind: {left}"

    def alive(self) -> list[int]:
        """Processes of this installation: by its folder among their words or settings."""
        mark = f"MOTHERTONGUE_DATA={self.folder}\0".encode()
        inside = f"{self.folder}/".encode()
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    words = (process / "cmdline").read_bytes()
                    if mark in (process / "environ").read_bytes() or inside in words:
                        found.append(int(process.name))
                except OSError:
                    continue  # it has just ended
        return found

    def keep_log(self, name: str) -> None:
        """Put the log where a person looks after a failure."""
        RESULTS.mkdir(exist_ok=True)
        shutil.copy(self.log, RESULTS / f"{name}.log")


def wait_for(what: Callable[[], object], seconds: float) -> None:
    """Until something holds."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
