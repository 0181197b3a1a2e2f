"""Two processes that tune small models together, for test_tuning.py: all its variants one
after the other.

    python -m tests.training.ranks.together_tuning RANK FOLDER

FOLDER holds spec.json and prepared/; every variant leaves FOLDER/NAME/ as a stage does,
and what a process was told FOLDER/NAME/RANK.json.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from tests.training import tiny
from training.errors import Stopped
from training.ranks import Ranks
from training.run import StageContext
from training.spec import JobSpec, StageSettings
from training.stages import share_function, tune_instructions
from training.tuning import sft, together

SIZE, STOP_AFTER = 2, 2
TUNE = replace(tiny.TUNE, lora_dropout=0.0)
ALIGN = replace(tiny.ALIGN, batch_pairs=4)
DROPOUT = replace(TUNE, lora_dropout=0.2)
VARIANTS: dict[str, StageSettings] = {
    "lora": TUNE,
    "odd": replace(TUNE, batch_examples=5),
    "packed": replace(TUNE, packing="on", batch_examples=7),
    "timed": replace(TUNE, steps=0, minutes=0.05, epochs=2.0),
    "dpo": ALIGN,
    "kto": replace(ALIGN, method="kto"),
}
# What goes wrong if each divides by its own tokens, or learns by itself alone.
WRONG = ("own tokens", "apart")


def context_of(folder: Path, name: str, settings: StageSettings) -> StageContext:
    """What the stage is given in the folder of a variant."""
    spec = JobSpec.from_json(json.loads((folder / "spec.json").read_text()))
    finished = {"prepare": folder / "prepared"}
    return tiny.context(spec, settings, folder / name, finished=finished)


def compute(context: StageContext, ranks: Ranks) -> dict[str, Any]:
    """The stage, in this process."""
    return share_function(context.settings.stage)(context, ranks)


def main(rank: int, folder: Path) -> None:
    from accelerate import PartialState

    torch.set_num_threads(1)
    PartialState(
        cpu=True,
        init_method=f"file://{folder / 'meeting'}",
        timeout=timedelta(seconds=100),
    )
    work = Work(rank, folder)
    for name, settings in VARIANTS.items():
        work.tune(name, settings)
    work.tune("straight", DROPOUT)
    work.begin("again", DROPOUT)
    work.tune("again", DROPOUT)
    work.begin("begun", TUNE)
    work.tune("ended", TUNE)
    work.begin_early("early")
    work.full_memory("full memory")
    for name in WRONG:
        work.spoilt(name)


class Work:
    """This process's part."""

    def __init__(self, rank: int, folder: Path) -> None:
        self.rank, self.folder = rank, folder
        self.ranks = Ranks(rank, SIZE, device=torch.device("cpu"))

    def context(self, name: str, settings: StageSettings) -> StageContext:
        """The first process alone has an event file."""
        made = context_of(self.folder, name, settings)
        if self.rank:
            made.events.path = Path(os.devnull)
        return made

    def tune(self, name: str, settings: StageSettings) -> None:
        """To the end; keeps the figures."""
        figures = compute(self.context(name, settings), self.ranks)
        self.say(name, figures)

    def begin(self, name: str, settings: StageSettings) -> None:
        """Stopped at STOP_AFTER steps; only the last process is asked to."""
        context = self.context(name, settings)
        watcher = sft.Watcher.on_step_begin

        def asked(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
            watcher(self, args, state, control, **more)
            last = self.ranks.rank == SIZE - 1
            self.stop.requested = last and state.global_step == STOP_AFTER - 1

        sft.Watcher.on_step_begin = asked
        try:
            compute(context, self.ranks)
        except Stopped:
            self.say(name, {"stopped": True})
        finally:
            sft.Watcher.on_step_begin = watcher

    def begin_early(self, name: str) -> None:
        """Stopped while the first alone makes the material and the last waits for it."""
        original = tune_instructions.collect

        def collect(*_: Any) -> None:
            assert self.rank == 0
            raise Stopped

        tune_instructions.collect = collect
        try:
            compute(self.context(name, TUNE), self.ranks)
        except Stopped:
            self.say(name, {"stopped": True})
        finally:
            tune_instructions.collect = original

    def full_memory(self, name: str) -> None:
        """The last process has no room for two rows."""
        original = sft.HeadLoss.summed

        def summed(loss: Any, inputs: Any, labels: Any, *more: Any) -> Any:
            if len(labels) > 1 and self.rank == SIZE - 1:
                raise MemoryError
            return original(loss, inputs, labels, *more)

        sft.HeadLoss.summed = summed
        self.tune(name, TUNE)
        sft.HeadLoss.summed = original

    def spoilt(self, name: str) -> None:
        """A sum that is wrong."""
        if name == "apart":
            kept, together.Together.together = together.Together.together, _apart
            self.tune(name, TUNE)
            together.Together.together = kept
            return
        arguments = sft.trainer_arguments

        def own(*values: Any, **more: Any) -> Any:
            made = arguments(*values, **more)
            made.average_tokens_across_devices = False
            return made

        sft.trainer_arguments = own
        self.tune(name, TUNE)
        sft.trainer_arguments = arguments

    def say(self, name: str, found: dict[str, Any]) -> None:
        path = self.folder / name / f"{self.rank}.json"
        path.write_text(json.dumps(found))


def _apart(self: Any, model: Any, loss: torch.Tensor) -> torch.Tensor:
    return loss


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)
