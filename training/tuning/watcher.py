"""What watches transformers' trainer: events, curves, checkpoints and the stop flag.

Used by every stage that trains through a library's trainer (training/tuning/sft.py,
training/tuning/preferences.py); everything happens at step boundaries.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from training import manifest
from training.events import EventWriter
from training.plans import evaluation_steps
from training.ranks import ALONE, Ranks
from training.run import StopFlag

CHECKPOINTS_KEPT = 2


class Planned(Protocol):
    """A plan that says how many steps and evaluations there are."""

    @property
    def steps(self) -> int: ...

    @property
    def evaluations(self) -> int: ...


class Watcher(TrainerCallback):
    """Events, evaluations, checkpoints and the stop flag, at step boundaries."""

    def __init__(
        self,
        *,
        stage: str,
        checkpoint_minutes: float,
        plan: Planned,
        sizes: list[tuple[int, int]],
        events: EventWriter,
        stop: StopFlag,
        evaluate: Callable[[int, int], None],
        run_dir: Path,
        seed: int = 0,
        ranks: Ranks = ALONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`sizes` are tokens and bytes of every step in order; `seed` is the run's.
        Among several processes all have a watcher, and what one of them wants (a stop, a
        checkpoint) all do at the same step."""
        self.seed, self.ranks = seed, ranks
        self.stage, self.plan = stage, plan
        self.checkpoint_minutes = checkpoint_minutes
        self.sizes, self.events, self.stop = sizes, events, stop
        self.evaluate, self.run_dir, self.clock = evaluate, run_dir, clock
        self.evaluation_steps = evaluation_steps(plan.steps, plan.evaluations)
        self.saved = self.since = clock()
        self.since_step = 0
        self.trained_seconds, self.trained_steps = 0.0, 0
        self.stopped = False

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        self.saved = self.since = self.clock()
        self.since_step = state.global_step

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        self.ranks.begin_step(self.seed, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        step = state.global_step
        if not logs or "loss" not in logs or step <= self.since_step:
            return
        seconds = self.clock() - self.since
        # Batches differ in length: the time left follows the mean step of this attempt.
        self.trained_seconds += seconds
        self.trained_steps += step - self.since_step
        per_step = self.trained_seconds / self.trained_steps
        tokens = sum(t for t, _ in self.sizes[self.since_step : step])
        size = sum(b for _, b in self.sizes[self.since_step : step])
        self.events.write(
            "progress",
            stage=self.stage,
            step=step,
            total=self.plan.steps,
            seconds_left=round(per_step * (self.plan.steps - step), 1),
            metrics={
                "loss": round(float(logs["loss"]), 5),
                "learning_rate": logs.get("learning_rate"),
                "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
                "bytes_per_second": round(size / max(seconds, 1e-9), 1),
            },
        )
        self.since, self.since_step = self.clock(), step

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> TrainerControl:
        step = state.global_step
        if step in self.evaluation_steps:
            began = self.clock()
            self.evaluate(step, self.plan.steps)
            self.since += self.clock() - began
        waited = self.clock() - self.saved
        due = waited > 60 * self.checkpoint_minutes
        if step < self.plan.steps:
            if self.ranks.any(self.stop.requested):
                self.stopped = control.should_training_stop = True
            control.should_save = self.ranks.any(due) or self.stopped
        else:
            control.should_save = False
        return control

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        self.ranks.wait()  # each has files of its own in the folder
        if self.ranks.first:
            self._seal(args, state)
        self.saved = self.clock()

    def _seal(self, args: TrainingArguments, state: TrainerState) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        # A pickle of the arguments that nothing here reads back.
        (folder / "training_args.bin").unlink(missing_ok=True)
        digest = manifest.seal(folder, stage=self.stage, step=state.global_step)
        self.events.write(
            "checkpoint",
            stage=self.stage,
            step=state.global_step,
            path=folder.relative_to(self.run_dir).as_posix(),
            manifest_sha256=digest,
        )
        for _, old in checkpoints(Path(args.output_dir))[:-CHECKPOINTS_KEPT]:
            shutil.rmtree(old)


def checkpoints(work: Path) -> list[tuple[int, Path]]:
    """All checkpoint folders with their steps, oldest first."""
    found = []
    for folder in work.glob("checkpoint-*"):
        number = folder.name.removeprefix("checkpoint-")
        if folder.is_dir() and number.isdigit():
            found.append((int(number), folder))
    return sorted(found)


def newest_checkpoint(work: Path, ranks: Ranks = ALONE) -> Path | None:
    """The newest checkpoint that is whole, the same on all processes; damaged ones are
    removed."""
    return ranks.by_first(lambda: _newest_whole(work))


def _newest_whole(work: Path) -> Path | None:
    for _, folder in reversed(checkpoints(work)):
        if manifest.is_whole(folder):
            return folder
        shutil.rmtree(folder)
    return None
