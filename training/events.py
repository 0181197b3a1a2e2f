"""CONTRACT: the append-only event file a run writes and others read. Standard library only.

One JSON object a line, each with `time` (Unix seconds) and `kind`. Kinds and fields:

    job_started      stages: list of stage names in order
    stage_started    stage, index
    progress         stage, index, step, total, seconds_left | null,
                     metrics: {loss, learning_rate, tokens_per_second, bytes_per_second}
    evaluation       stage, index, step, total, target_bits_per_byte,
                     protected_bits_per_byte | null, samples: [{prompt, answer}]
    checkpoint       stage, index, step, path (relative to the run), manifest_sha256
    note             sentence, level: "info" | "warning"
    stage_finished   stage, index, seconds, figures: {...}
    failed           code, sentence, hint, retryable
    stopped          stage, step | null
    succeeded        report (path relative to the run), seconds

`index` is the place of the stage in the job, from 0: a job may name a stage twice.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

log = logging.getLogger(__name__)

Event = dict[str, Any]

KINDS = frozenset(
    {
        "job_started",
        "stage_started",
        "progress",
        "evaluation",
        "checkpoint",
        "note",
        "stage_finished",
        "failed",
        "stopped",
        "succeeded",
    }
)
# Kinds that a stage writes by itself, which knows its name and not its place.
OF_A_STAGE = frozenset({"progress", "evaluation", "checkpoint"})


class EventWriter:
    """Appends events to a file; a failure to write is logged and never raised."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.clock = clock
        self.index: int | None = None  # of the stage that writes

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event. `kind` must be one of KINDS."""
        if kind not in KINDS:
            raise ValueError(f"unknown event kind {kind!r}")
        if kind in OF_A_STAGE and self.index is not None:
            fields = {"index": self.index, **fields}
        event = {"time": round(self.clock(), 3), "kind": kind, **fields}
        try:
            line = json.dumps(event, ensure_ascii=False).encode("utf-8", "replace")
            with self.path.open("ab+") as file:
                # A line cut short (by a full disk) must not swallow this one.
                if file.tell() and _last_byte(file) != b"\n":
                    line = b"\n" + line
                file.write(line + b"\n")
        except (OSError, TypeError, ValueError) as problem:
            log.warning("event %s could not be written: %s", kind, problem)

    def note(self, sentence: str, *, level: str = "info") -> None:
        """A sentence for the person who watches."""
        self.write("note", sentence=sentence, level=level)


def _last_byte(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Whole lines after byte `offset`, and the offset to go on from.

    A last line still being written is left for the next call; a line that is not JSON
    is skipped. A missing file has no events.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            block = file.read()
    except FileNotFoundError:
        return [], offset
    end = block.rfind(b"\n") + 1
    events = []
    for line in block[:end].splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            log.warning("skipped a damaged line in %s", path)
            continue
        if isinstance(event, dict) and event.get("kind") in KINDS:
            events.append(event)
    return events, offset + end
