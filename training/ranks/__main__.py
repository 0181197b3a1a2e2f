"""One of several processes of a stage: `python -m training.ranks FOLDER MEETING PARENT`.

Started by training/ranks/start.py and by nobody else. FOLDER holds context.json and gets
outcome-RANK.json; MEETING is the file through which the processes find each other;
PARENT is the pid of the engine, with which this process dies.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

from training.errors import (
    EXIT_FAILED,
    EXIT_STOPPED,
    EXIT_SUCCEEDED,
    EXIT_UNEXPECTED,
    Stopped,
    TrainingError,
)
from training.events import EventWriter
from training.manifest import write_json
from training.run import StageContext, StopFlag
from training.spec import JobSpec, stage_from_json

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# The engine notices a process that has ended. Who is alive may be long about it: the
# first writes checkpoints and makes files while the others wait.
PATIENCE = timedelta(days=1)


def main(folder: Path, meeting: Path, parent: int) -> int:
    """Do this process's part of the stage; returns the exit code."""
    die_with(parent)
    rank = int(os.environ["RANK"])
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s process {rank + 1} %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    stop = StopFlag()
    stop.listen()
    found: dict[str, Any]
    try:
        found, code = {"figures": work(folder, meeting, rank, stop)}, EXIT_SUCCEEDED
    except Stopped:
        found, code = {"stopped": True}, EXIT_STOPPED
    except TrainingError as failure:
        found, code = failure.as_dict(), EXIT_FAILED
    except Exception as failure:  # noqa: BLE001 - the engine's door says it
        logging.error("process %d failed\n%s", rank + 1, traceback.format_exc())
        if is_silence(failure):
            return EXIT_UNEXPECTED
        found, code = {"unexpected": str(failure)}, EXIT_UNEXPECTED
    write_json(folder / f"outcome-{rank}.json", found)
    return code


def work(folder: Path, meeting: Path, rank: int, stop: StopFlag) -> dict[str, Any]:
    """Meet the others and run the stage."""
    plain = json.loads((folder / "context.json").read_text(encoding="utf-8"))
    from accelerate import PartialState

    from training.ranks import Ranks
    from training.stages import share_function

    spec = JobSpec.from_json(plain["spec"])
    state = PartialState(
        cpu=spec.device.kind == "cpu" or not _has_gpu(),
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=plain["size"],
        timeout=PATIENCE,
    )
    events = EventWriter(Path(plain["events"]) if rank == 0 else Path(os.devnull))
    events.index = plain["index"]
    context = StageContext(
        spec=spec,
        settings=stage_from_json(plain["stage"]),
        run_dir=Path(plain["run_dir"]),
        folder=Path(plain["folder"]),
        work=Path(plain["work"]),
        model=Path(plain["model"]),
        adapter=Path(plain["adapter"]) if plain["adapter"] else None,
        events=events,
        stop=stop,
        finished={name: Path(path) for name, path in plain["finished"].items()},
        figures=plain["figures"],
    )
    ranks = Ranks(rank, plain["size"], sharded=plain["sharded"], device=state.device)
    return share_function(context.settings.stage)(context, ranks)


def die_with(parent: int) -> None:
    """Have the kernel end this process when the engine ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the request was in place
        os._exit(EXIT_UNEXPECTED)


def is_silence(failure: Exception) -> bool:
    """Whether it is only that another process does not answer any more."""
    from torch.distributed import DistError

    words = ("Connection closed by peer", "Connection reset", "Broken pipe")
    return isinstance(failure, DistError) or any(w in str(failure) for w in words)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.flush()
    sys.stderr.flush()
    # No farewell between processes, of which one may be gone.
    os._exit(code)
