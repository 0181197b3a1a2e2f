"""The pretraining loop: steps, curves, checkpoints; resumed runs end in equal weights.

`training/stages/continue_pretraining.py` builds the parts; here they run. The text of a
step follows from its number alone (training/data/packing.py), the learning rate and the
weights that learn too (training/pretraining/selection.py), and weights, optimizer and
generators come back from the checkpoint: a run that was killed computes what it would
have computed.

What else happens to the weights at the end of a step is a follower: it has
`after_step(step, optimizer)`, `kept()` for the checkpoint and `restore(kept)`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training import (
    checkpoints,
    compute,
    forward_passes,
    freed_memory,
    halved_passes,
    manifest,
    optimisation,
)
from training.data.packing import Batch, Packer
from training.errors import Diverged, Stopped
from training.evaluation.evaluator import Evaluator
from training.events import EventWriter
from training.head_loss import HeadLoss
from training.micro_batches import MicroBatches, drop_gradients
from training.plans import evaluation_steps, refuse_changed
from training.pretraining import compiled
from training.pretraining.averaging import Averaging
from training.pretraining.branches import Branching
from training.pretraining.forgetting import Forgetting
from training.pretraining.selection import Selection
from training.progress import Progress
from training.ranks import ALONE, Ranks
from training.run import StopFlag
from training.spec import ContinuePretraining

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STAGE = ContinuePretraining.stage


@dataclass(frozen=True)
class Plan:
    """Decided once and stored: a resumed run follows the same plan."""

    steps: int
    evaluations: int
    precision: str
    seconds_per_step: dict[str, float]
    seconds_per_evaluation: float
    identity: dict[str, Any]
    compiled: bool = False


class Pretraining:
    """A model, its text and what is done with them."""

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        selection: Selection,
        new_rows: Sequence[int],
        packer: Packer,
        evaluator: Evaluator,
        settings: ContinuePretraining,
        device: torch.device,
        work: Path,
        run_dir: Path,
        events: EventWriter,
        stop: StopFlag,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model = model
        self.selection = selection
        self.new_rows = new_rows
        self.packer = packer
        self.evaluator = evaluator
        self.settings = settings
        self.device = device
        self.work = work
        self.run_dir = run_dir
        self.events = events
        self.stop = stop
        self.ranks = ranks
        self.head_loss = ranks.cut(model, HeadLoss(model, device))
        selection.follow(model)
        self.trained = selection.weights
        tokens = forward_passes.prepare(
            model,
            settings.gradient_checkpointing,
            packer.block_tokens,
            self.trained.values(),
            shared_by=ranks.size if ranks.sharded else 1,
        )
        if ranks.sharded:
            most = min(tokens // packer.block_tokens, settings.batch_blocks)
            rows = halved_passes.rows(work, most, first=ranks.first)
            tokens = rows * packer.block_tokens
        self.micro_batches = MicroBatches(
            work / "micro_batches.json", tokens, events, ranks
        )
        self.at_step = 0
        self.peak = optimisation.peak_learning_rate(
            model.config.get_text_config().hidden_size,
            settings.method,
            given=settings.learning_rate,
            base_final=settings.base_final_learning_rate,
        )
        self.optimizer = self._optimizer()
        self.branching: Branching | None = None
        self.followers: dict[str, Averaging | Branching | Forgetting] = {}
        self.evaluations: list[dict[str, Any]] = []

    def make_plan(self, identity: dict[str, Any], seconds_used: float) -> Plan:
        """The stored plan, or a new one from a measurement of speed.

        The measurement runs real steps at a learning rate of 0, which leave every weight
        as it is; optimizer and generators are put back. Raises SpecInvalid where a
        stored plan belongs to other settings or other text.
        """
        path = self.work / "plan.json"
        known = path.is_file() and json.loads(path.read_text(encoding="utf-8"))
        if known := self.ranks.from_first(known):
            plan = Plan(**known)
            refuse_changed(STAGE, plan.identity, identity)
            return plan
        began = time.monotonic()
        first = self.measure(0)
        evaluation = time.monotonic() - began
        seconds: dict[str, float] = {}
        precision = self.settings.precision
        if precision == "auto" or not self.settings.steps:
            precision, seconds = compute.choose_precision(
                precision, self.time_steps, self.device
            )
        fast = compiled.choose(self, precision, seconds)
        used = seconds_used + time.monotonic() - began
        steps, evaluations = self._counts(seconds.get(precision), evaluation, used)
        plan = Plan(
            steps=steps,
            evaluations=evaluations,
            precision=precision,
            seconds_per_step=seconds,
            seconds_per_evaluation=round(evaluation, 3),
            identity=identity,
            compiled=fast,
        )
        # Each process has a clock of its own: the first one's counts.
        plan = Plan(**self.ranks.from_first(asdict(plan)))
        if self.ranks.first:
            manifest.write_json(path, asdict(plan))
        self.events.write("evaluation", stage=STAGE, total=plan.steps, **first)
        return plan

    def train(self, plan: Plan) -> float | None:
        """Run all steps that are left; returns the mean loss of the last tenth, None
        where the checkpoint was of the last step.

        Raises Diverged, and Stopped once a checkpoint is on disk.
        """
        if plan.compiled:
            compiled.begin(self, plan.precision)
        due = evaluation_steps(plan.steps, plan.evaluations)
        self.follow(plan, due)
        if self.branching:
            due = frozenset(self.branching.round_end(step) for step in due)
        step = self.resume()
        if step == plan.steps:
            self.evaluate(step, plan.steps)
        batches = self.packer.batches(step, plan.steps)
        progress = Progress(
            self.events,
            STAGE,
            plan.steps,
            evaluations=len(due),
            seconds_per_evaluation=plan.seconds_per_evaluation,
        )
        saved, losses = time.monotonic(), []
        self.model.train()
        while step < plan.steps:
            if self.ranks.any(self.stop.requested):
                self.save(step)
                raise Stopped
            rate = self.rate(step, plan.steps)
            self.at_step = step
            self.selection.begin(step, self.optimizer)
            batch = next(batches)
            loss = self.step(batch, rate, plan.precision)
            if not math.isfinite(loss):
                raise Diverged(
                    f"The loss stopped being a number at step {step + 1} of "
                    f"{plan.steps}; the last checkpoint is kept."
                )
            step += 1
            for follower in self.followers.values():
                follower.after_step(step, self.optimizer)
            if step > plan.steps * 0.9:
                losses.append(loss)
            progress.step(
                step, loss=loss, rate=rate, tokens=batch.tokens, bytes=batch.bytes
            )
            if step in due:
                self.evaluate(step, plan.steps)
                progress.pause()
            late = time.monotonic() - saved > 60 * self.settings.checkpoint_minutes
            if self.ranks.any(late):
                self.save(step)
                progress.pause()
                saved = time.monotonic()
        return round(sum(losses) / len(losses), 4) if losses else None

    def follow(self, plan: Plan, due: Iterable[int]) -> None:
        """Make the followers that the settings ask for; raises SpecInvalid where there
        are not enough steps for them."""
        settings = self.settings
        if settings.average_last:
            average = Averaging(self.trained, settings.average_last, due)
            self.followers["average"] = average
            if len(average.steps) < settings.average_last:
                self.events.note(
                    f"The model is the mean of {len(average.steps)} evaluations, not of "
                    f"{settings.average_last}: there are no more. Ask for more "
                    "evaluations, or give more minutes.",
                    level="warning",
                )
        if settings.branches > 1:
            if plan.steps < settings.branches * settings.rounds:
                raise settings.unfit(
                    "rounds",
                    f"{plan.steps} steps are too few for {settings.rounds} rounds of "
                    f"{settings.branches} branches; choose fewer, or give more minutes",
                )
            self.branching = Branching(
                self.trained,
                branches=settings.branches,
                rounds=settings.rounds,
                total=plan.steps,
                merge=settings.branch_merge,
                rows=self.selection.rows(),
            )
            self.followers["branches"] = self.branching
        if settings.forget_every_steps:
            matrices = (
                self.model.get_input_embeddings(),
                self.model.get_output_embeddings(),
            )
            forgetting = Forgetting(
                [module.weight for module in matrices if module is not None],
                self.new_rows if settings.forget_rows == "new_rows" else None,
                every=settings.forget_every_steps,
                until=settings.forget_until_share,
                total=plan.steps,
            )
            self.followers["forgetting"] = forgetting
            if not forgetting.times:
                self.events.note(
                    f"No row is put back: that happens every "
                    f"{settings.forget_every_steps} steps, and there are {plan.steps}.",
                    level="warning",
                )

    def rate(self, step: int, total: int) -> float:
        """The learning rate of a step."""
        if self.branching:
            step, total = self.branching.schedule_step(step)
        return optimisation.learning_rate_at(
            step,
            total,
            peak=self.peak,
            warmup_share=self.settings.warmup_share,
            final_share=self.settings.final_learning_rate_share,
            schedule=self.settings.schedule,
            decay_share=self.settings.decay_share,
            start=self.settings.base_final_learning_rate,
        )

    def step(self, batch: Batch, rate: float, precision: str) -> float:
        """One optimizer step on a batch; returns nats per token. No step is made where
        the gradient is not finite: then nan is returned."""
        mine = self.ranks.share(batch)
        self.ranks.begin_step(self.packer.seed, self.at_step)
        total = self.micro_batches.attempt(
            self.at_step,
            tuple(mine.ids.shape),
            lambda rows: self.add_gradients(mine, rows, precision),
            drop_gradients(self.trained.values()),
        )
        total = self.ranks.total(total)
        self.ranks.add_up(self.trained.values())
        self.selection.clear_gradients()
        norm = optimisation.clip_gradients(self.trained.values())
        if not math.isfinite(norm):
            return math.nan
        optimisation.set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def evaluate(self, step: int, total: int) -> None:
        """A point of the curves and the prompts' answers, written as an event."""
        # What steps left free is in pieces; measured text would lie beside it.
        freed_memory.give_back()
        self.events.write("evaluation", stage=STAGE, total=total, **self.measure(step))

    def measure(self, step: int) -> dict[str, Any]:
        """Bits per byte and answers as they are after `step` steps."""
        bits = self.evaluator.bits_per_byte()
        with self.ranks.alike(self.model):
            samples = self.evaluator.samples()
        evaluation = {
            "step": step,
            "target_bits_per_byte": bits["target"],
            "protected_bits_per_byte": bits["protected"],
            "samples": samples,
        }
        self.evaluations.append(evaluation)
        return evaluation

    def save(self, step: int) -> Path:
        """Write a checkpoint and its event."""
        kept = {
            f"{name}/{key}": tensor
            for name, follower in self.followers.items()
            for key, tensor in follower.kept().items()
        }
        folder, digest = checkpoints.save(
            self.work / "checkpoints",
            step,
            self.trained,
            self.optimizer,
            kept,
            self.ranks,
        )
        self.events.write(
            "checkpoint",
            stage=STAGE,
            step=step,
            path=folder.relative_to(self.run_dir).as_posix(),
            manifest_sha256=digest,
        )
        return folder

    def resume(self) -> int:
        """Go back to the newest whole checkpoint; returns its step, or 0."""
        folder = checkpoints.newest(self.work / "checkpoints")
        folder = self.ranks.from_first(folder)
        if folder is None:
            return 0
        step = checkpoints.load(folder, self.trained, self.optimizer, self.ranks)
        kept = checkpoints.kept_tensors(folder)
        for name, follower in self.followers.items():
            prefix = f"{name}/"
            follower.restore(
                {
                    key.removeprefix(prefix): tensor
                    for key, tensor in kept.items()
                    if key.startswith(prefix)
                }
            )
        self.events.note(f"Going on from the checkpoint of step {step}.")
        return step

    def _optimizer(self) -> torch.optim.AdamW:
        return optimisation.make_optimizer(
            self.model,
            learning_rate=self.peak,
            weight_decay=self.settings.weight_decay,
            embedding_rate_share=self.settings.embedding_rate_share,
            lora_plus_ratio=self.settings.lora_plus_ratio,
        )

    def add_gradients(self, batch: Batch, rows: int, precision: str) -> float:
        """Gradients of a batch, `rows` of it at a time; returns nats per token."""
        config = self.model.config
        return sum(
            self.head_loss.backward(
                part.inputs(self.device, config._attn_implementation, config),
                part.labels.to(self.device),
                batch.tokens,
                lambda: compute.autocast(self.device, precision),
            )
            for part in batch.parts(rows)
        )

    def time_steps(self, precision: str) -> float:
        """Median seconds of a step that changes nothing."""
        state = compute.random_state()
        # In the middle of a cycle of lengths neither the shortest nor the longest come.
        batches = self.packer.batches(self.packer.cycle // 2)
        self.model.train()
        self.selection.begin(0, self.optimizer)
        try:
            seconds = compute.seconds_per_call(
                lambda: self.step(next(batches), 0.0, precision),
                agreed=self.ranks.largest,
            )
        finally:
            self.selection.free()
            self.optimizer = self._optimizer()
            compute.restore_random_state(state)
        return seconds

    def _counts(
        self, per_step: float | None, evaluation: float, used: float
    ) -> tuple[int, int]:
        """Steps and evaluations: as set, or what fits into the minutes and the passes
        over the text."""
        if self.settings.steps or per_step is None:
            return self.settings.steps, self.settings.evaluations
        steps, evaluations = compute.fit_into(
            self.settings.minutes,
            used=used,
            per_step=per_step,
            evaluations=self.settings.evaluations,
            per_evaluation=evaluation,
        )
        by_epochs = int(self.settings.epochs * self.packer.steps_of_an_epoch())
        return max(1, min(steps, by_epochs)), evaluations
