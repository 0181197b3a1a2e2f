"""The engine's one door: `python -m training SPEC.json RUN_DIR`.

Reads a job (training/spec.py), runs its stages in RUN_DIR, writes events there and ends
with an exit code of training/errors.py. SIGTERM saves a checkpoint and stops.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path

# Threads that wait for work by spinning starve every other process on the cores: of two
# trainings on two cores each step took 8 times as long, and 2 times with a short spin;
# alone it makes no difference. The library reads this when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from training.errors import EXIT_FAILED, SpecInvalid
from training.events import EventWriter
from training.run import StopFlag, run_job
from training.spec import JobSpec

# What reading a file of any other shape than a job's can raise.
UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError)


def main(arguments: list[str] | None = None) -> int:
    """Run one job; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("spec", type=Path, help="the job as JSON")
    parser.add_argument("run_dir", type=Path, help="where the run keeps its files")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    options.run_dir.mkdir(parents=True, exist_ok=True)
    try:
        spec = JobSpec.from_json(json.loads(options.spec.read_text(encoding="utf-8")))
    except (*UNREADABLE, SpecInvalid) as problem:
        refusal = (
            problem
            if isinstance(problem, SpecInvalid)
            else SpecInvalid("", f"{options.spec} cannot be read as a job: {problem}")
        )
        events = EventWriter(options.run_dir / "events.jsonl")
        events.write("failed", stage="", **refusal.as_dict())
        sys.stderr.write(f"{refusal.sentence}\n")
        return EXIT_FAILED
    stop = StopFlag()
    stop.listen()
    return run_job(spec, options.run_dir, stop)


if __name__ == "__main__":
    sys.exit(main())
