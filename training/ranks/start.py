"""Start the processes of a stage, watch them, and say how they ended.

They are children of the engine in its own session and die with it; they inherit its lock
on the run's folder. They meet through a file, no port is opened on the network, and talk
over the loopback device or from GPU to GPU. The first one writes events, checkpoints and
the model; the engine only waits, and ends the others when one ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training import compute, halved_passes
from training.errors import (
    EXIT_STOPPED,
    EXIT_SUCCEEDED,
    ProcessDied,
    SpecInvalid,
    Stopped,
    TrainingError,
)
from training.manifest import write_json
from training.ranks import ALONE, Ranks
from training.settings import several_processes
from training.settings.several_processes import (
    WHOLE_STAGES,
    most_processes,
    refusal,
    refuse,
)
from training.spec import StageSettings

if TYPE_CHECKING:
    from training.run import StageContext

WATCH_SECONDS = 0.05
# After one has ended the others may still say why.
LAST_WORDS_SECONDS = 2.0
ROOT = Path(__file__).resolve().parents[2]


def learn(
    context: StageContext, train: Callable[[StageContext, Ranks], dict[str, Any]]
) -> dict[str, Any]:
    """Run `train` in this process, or in the several that the job asks for; figures.

    Begins again with smaller passes where memory is full (training/halved_passes.py).
    Raises what `decide`, `run_ranks` and `train` raise.
    """
    size, sharded = decide(context)

    def once() -> dict[str, Any]:
        if size > 1:
            return run_ranks(context, size, sharded=sharded)
        return train(context, ALONE)

    return halved_passes.until_it_fits(context, once)


def decide(context: StageContext) -> tuple[int, bool]:
    """How many processes, and whether each holds only a part of the weights.

    Raises SpecInvalid where the job asks for what cannot be; where it leaves the number
    open, one process does it, and a note says why.
    """
    device, settings = context.spec.device, context.settings
    gpus = torch.cuda.device_count() if device.kind != "cpu" else 0
    size = device.processes or most_processes(settings, max(1, gpus))
    if size == 1:
        return 1, False
    if gpus and size > gpus:
        raise SpecInvalid(
            "device.processes",
            f"{size} processes need as many GPUs, and the job is shown {gpus}; with "
            "device.processes = 0 it takes what there is.",
        )
    if device.processes:
        refuse(settings, size, device.sharing)
    if settings.stage in WHOLE_STAGES and device.sharing == "sharded":
        context.events.note(
            "Low-rank additions are small: while they learn every process holds the "
            "whole model, though the job asks for weights in parts."
        )
    sharded = settings.stage not in WHOLE_STAGES and (
        device.sharing == "sharded"
        or (
            device.sharing == "auto"
            and bool(gpus)
            and refusal(settings, "sharded") is None
            and fills_a_device(context.model, settings)
        )
    )
    reason = refusal(settings, "sharded" if sharded else "replicated")
    if reason is None:
        return size, sharded
    field, sentence = reason
    context.events.note(
        f"One process computes, though the job is shown {gpus} GPUs: {field}: {sentence}."
    )
    return 1, False


def fills_a_device(model: Path, settings: StageSettings) -> bool:
    """Whether a GPU would have too little room beside weights and optimizer."""
    from safetensors import safe_open

    numbers = 0
    for path in model.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                count = 1
                for length in file.get_slice(name).get_shape():
                    count *= length
                numbers += count
    memory = compute.device_memory(torch.device("cuda", 0))
    return several_processes.fills_a_device(settings, numbers, memory)


def run_ranks(context: StageContext, size: int, *, sharded: bool) -> dict[str, Any]:
    """Run the stage in `size` processes; returns the first one's figures.

    Raises what a process raised, Stopped, and ProcessDied where one ended without a
    word.
    """
    how = "holds a part of each weight" if sharded else "holds the whole model"
    context.events.note(f"{size} processes compute together; each {how}.")
    folder = context.work / "ranks"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    write_json(folder / "context.json", as_json(context, size, sharded=sharded))
    if torch.cuda.is_available():  # what earlier stages left cached is in the way
        torch.cuda.empty_cache()
    with tempfile.TemporaryDirectory(prefix="ranks-") as meeting:
        processes = [start(folder, rank, size, Path(meeting)) for rank in range(size)]
        try:
            codes = watch(context, processes)
        finally:
            end(processes)
    # Asked to stop before it could listen; the last checkpoint counts.
    if context.stop.requested and -signal.SIGTERM in codes:
        raise Stopped
    return outcome(folder, codes)


def as_json(context: StageContext, size: int, *, sharded: bool) -> dict[str, Any]:
    """What a process needs to make the same context."""
    device = context.spec.device
    threads = device.threads or torch.get_num_threads()
    spec = replace(
        context.spec, device=replace(device, threads=max(1, threads // size))
    )
    return {
        "spec": spec.as_json(),
        "stage": {"stage": context.settings.stage, **asdict(context.settings)},
        "size": size,
        "sharded": sharded,
        "index": context.events.index,
        "events": str(context.events.path),
        "run_dir": str(context.run_dir),
        "folder": str(context.folder),
        "work": str(context.work),
        "model": str(context.model),
        "adapter": str(context.adapter or ""),
        "figures": context.figures,
        "finished": {name: str(path) for name, path in context.finished.items()},
    }


def start(folder: Path, rank: int, size: int, meeting: Path) -> subprocess.Popen[bytes]:
    """Start one process; it inherits what was handed on to the engine, the lock too."""
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "PYTHONPATH": os.pathsep.join(
            part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part
        ),
    }
    # accelerate sets the number of threads itself where nobody has.
    environment.setdefault("OMP_NUM_THREADS", "1")
    if Path("/sys/class/net/lo").exists():
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    command = [sys.executable, "-m", "training.ranks"]
    return subprocess.Popen(
        [*command, str(folder), str(meeting / "file"), str(os.getpid())],
        env=environment,
        stdin=subprocess.DEVNULL,
        close_fds=False,
    )


def watch(
    context: StageContext, processes: list[subprocess.Popen[bytes]]
) -> list[int | None]:
    """The exit codes once all have ended, or some once one has ended badly; None for
    who lives on. Hands on the wish to stop."""
    asked = False
    while None in (codes := [process.poll() for process in processes]):
        if any(code not in (None, EXIT_SUCCEEDED, EXIT_STOPPED) for code in codes):
            until = time.monotonic() + LAST_WORDS_SECONDS
            while time.monotonic() < until and any(p.poll() is None for p in processes):
                time.sleep(WATCH_SECONDS)
            return [process.poll() for process in processes]
        if context.stop.requested and not asked:
            asked = True
            for process in processes:
                process.send_signal(signal.SIGTERM)
        time.sleep(WATCH_SECONDS)
    return codes


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Kill what still lives."""
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait()


def outcome(folder: Path, codes: list[int | None]) -> dict[str, Any]:
    """The first process's figures; raises what went wrong, the clearest word first."""
    words: list[dict[str, Any] | None] = []
    for rank in range(len(codes)):
        path = folder / f"outcome-{rank}.json"
        words.append(json.loads(path.read_text("utf-8")) if path.is_file() else None)
    for word in words:
        if word and "code" in word:
            failure = TrainingError(word["sentence"], hint=word["hint"])
            failure.code, failure.retryable = word["code"], word["retryable"]
            raise failure
    for rank, code in enumerate(codes):
        if code is not None and code < 0:  # what the others say follows from it
            raise died(rank, len(codes), signal.Signals(-code).name)
    for word in words:
        if word and "unexpected" in word:
            raise RuntimeError(word["unexpected"])
    for rank, (code, word) in enumerate(zip(codes, words, strict=True)):
        if code and word is None:
            raise died(rank, len(codes), f"code {code}")
    if words[0] is None or EXIT_STOPPED in codes:
        raise Stopped
    return words[0]["figures"]


def died(rank: int, size: int, how: str) -> ProcessDied:
    return ProcessDied(
        f"Process {rank + 1} of {size} that computed together ended without a word "
        f"({how}); the others were ended too."
    )
