"""Stands in for the engine at the process boundary: `python -m tests.workers.scripted`.

Does what the spec's first prompt says. Only the standard library and the contract: it
starts in a tenth of a second, where the engine needs several.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from training.events import EventWriter

STEP_SECONDS = 0.05


class Script:
    """One run of the stand-in."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.events = EventWriter(run_dir / "events.jsonl")
        self.stop = False
        signal.signal(signal.SIGTERM, self._asked)
        # Who ran when, for the judge: one line at the start and one at the end.
        self.note("begin")

    def _asked(self, *_: object) -> None:
        self.stop = True

    def note(self, what: str) -> None:
        with (self.run_dir / "history.txt").open("a") as file:
            file.write(f"{what} {os.getpid()} {time.time()}\n")

    def begin(self) -> None:
        self.events.write("job_started", stages=["evaluate"])
        self.events.write("stage_started", stage="evaluate", index=0)

    def succeed(self, _: str) -> int:
        """Runs through and leaves a report."""
        self.begin()
        self.events.write("progress", stage="evaluate", step=1, total=1, metrics={})
        self.events.write("stage_finished", stage="evaluate", index=0, seconds=0.1)
        (self.run_dir / "report.json").write_text('{"samples": ["habari"]}')
        self.note("end")
        return 0

    def steps(self, argument: str) -> int:
        """Counts to a number, keeps a checkpoint each fifth step, stops politely."""
        total = int(argument)
        kept = self.run_dir / "step.txt"
        first = int(kept.read_text()) if kept.exists() else 0
        self.note(f"from-{first}")
        self.begin()
        for step in range(first, total):
            time.sleep(STEP_SECONDS)
            self.events.write(
                "progress", stage="evaluate", step=step, total=total, metrics={}
            )
            if (step + 1) % 5 == 0 or self.stop:
                kept.with_suffix(".part").write_text(str(step + 1))
                kept.with_suffix(".part").rename(kept)
                self.events.write(
                    "checkpoint",
                    stage="evaluate",
                    step=step,
                    path="step.txt",
                    manifest_sha256="0" * 64,
                )
            if self.stop:
                self.events.write("stopped", stage="evaluate", step=step)
                return 3
        return self.succeed("")

    def refuse(self, _: str) -> int:
        """Fails with a sentence."""
        self.events.write(
            "failed",
            stage="prepare",
            code="too_little_text",
            sentence="There are only 12 characters.",
            hint="Add more text.",
            retryable=False,
        )
        return 2

    def stubborn(self, _: str) -> int:
        """Ignores SIGTERM, and has a child that does too."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.begin()
        sleep = "import signal, time; signal.signal(15, 1); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", sleep, str(self.run_dir)])
        while True:
            time.sleep(1)

    def vanish(self, argument: str) -> int:
        """Dies by a signal."""
        self.begin()
        os.kill(os.getpid(), int(argument))
        time.sleep(10)
        return 0

    def half(self, _: str) -> int:
        """Ends in the middle of a line, without a word."""
        self.begin()
        with self.events.path.open("a") as file:
            file.write('{"time": 1, "kind": "no')
        print("ValueError: this is the last line", file=sys.stderr)
        return 1

    def strange(self, _: str) -> int:
        """Writes what no database takes, and then something good."""
        self.begin()
        metrics = {"loss": float("nan"), "speed": float("inf")}
        self.events.write(
            "progress", stage="evaluate", step=1, total=2, metrics=metrics
        )
        with self.events.path.open("a") as file:
            answer = r'[{"prompt": "a\u0000b", "answer": "\ud800"}]'
            file.write('{"time":1,"kind":"evaluation","stage":"evaluate","samples":')
            file.write(answer + "}\n")
            file.write('{"time":"noon","kind":"note","sentence":"no time"}\n')
            file.write('{"time":1,"kind":"stage_started"}\n')
        self.events.note("still here")
        return self.succeed("")


def main() -> int:
    """What the first prompt says: "name" or "name:argument"."""
    spec, run_dir = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    name, _, argument = spec["prompts"][0].partition(":")
    return getattr(Script(run_dir), name)(argument)


if __name__ == "__main__":
    sys.exit(main())
