"""Token distillation: new rows learn to do what the pieces they replace did.

Dobler et al. 2025 (arXiv 2505.20133): the base reads a text in its old pieces, the
extended model the same text in new tokens; the mean squared difference of their hidden
states after one layer, at the places where both have read as much, teaches the input
rows. The rows of an untied head learn to predict the next token, by themselves. Tied
rows learn from both, the second loss scaled to the size of the first (which keeps their
norm from growing). Everything else stands still.

The control `next_token` learns from the next token alone, on the same snippets.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from training import checkpoints, compute, manifest, optimisation
from training.data.packing import IGNORED
from training.embeddings.snippets import Snippet
from training.embeddings.trainable_rows import TrainableRows
from training.errors import BaseUnsuitable, Diverged, Stopped
from training.evaluation.evaluator import Evaluator
from training.events import EventWriter
from training.families import layer_names
from training.merging import is_tied
from training.plans import evaluation_steps, refuse_changed
from training.progress import Progress
from training.run import StopFlag
from training.settings.distil_embeddings import DistilEmbeddings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STAGE = DistilEmbeddings.stage
WARMUP_SHARE, FINAL_SHARE = 0.03, 0.1
# Logits held at once, whole: the hooks on the head see all of them (512 MB in float32 on
# a CPU, 4 GB on a GPU).
LOGITS_AT_ONCE = {"cpu": 2**27, "cuda": 2**30}


@dataclass(frozen=True)
class Plan:
    """Decided once and stored: a resumed run follows the same plan."""

    steps: int
    evaluations: int
    seconds_per_step: float | None
    identity: dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """Snippets as tensors [snippets, tokens], padded on the right.

    `rows`, `students` and `teachers` [n] are the places where both are compared.
    """

    student: torch.Tensor
    labels: torch.Tensor
    teacher: torch.Tensor
    rows: torch.Tensor
    students: torch.Tensor
    teachers: torch.Tensor


def layers_through(model: PreTrainedModel, share: float) -> int:
    """After how many layers is compared: `share` of the depth, one at least."""
    return max(1, round(share * len(layers(model))))


def layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The model's layers in order; raises BaseUnsuitable where they are not found."""
    names = layer_names(model)
    if not names:
        raise BaseUnsuitable("The layers of this model cannot be found.")
    found = model.get_submodule(names[0].rpartition(".")[0])
    assert isinstance(found, torch.nn.ModuleList)
    return found


class HiddenStates:
    """Keeps what one layer gave last, [snippets, tokens, width]."""

    def __init__(self, layer: torch.nn.Module) -> None:
        self.last: torch.Tensor | None = None
        self.hook = layer.register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        self.last = output[0] if isinstance(output, tuple) else output

    def take(self) -> torch.Tensor:
        """The states, in float32; they are let go."""
        assert self.last is not None
        states, self.last = self.last.float(), None
        return states


def make_batch(snippets: Sequence[Snippet], starts: tuple[int, int]) -> Batch:
    """Snippets after their start tokens (`starts`: student's, teacher's)."""
    width = 1 + max(len(s.student) for s in snippets)
    length = 1 + max(len(s.teacher) for s in snippets)
    student = torch.full((len(snippets), width), starts[0])
    labels = torch.full((len(snippets), width), IGNORED)
    teacher = torch.full((len(snippets), length), starts[1])
    for row, snippet in enumerate(snippets):
        ids = torch.from_numpy(snippet.student).long()
        student[row, 1 : 1 + len(ids)] = ids
        labels[row, : len(ids)] = ids
        ids = torch.from_numpy(snippet.teacher).long()
        teacher[row, 1 : 1 + len(ids)] = ids
    rows = np.repeat(np.arange(len(snippets)), [len(s.places) for s in snippets])
    places = torch.from_numpy(np.concatenate([s.places for s in snippets])).long() + 1
    return Batch(
        student,
        labels,
        teacher,
        torch.from_numpy(rows),
        places[:, 0],
        places[:, 1],
    )


class Distillation:
    """New rows, the snippets they learn from, and their teacher (None: next_token)."""

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        teacher: PreTrainedModel | None,
        ids: Sequence[int],
        snippets: Sequence[Snippet],
        starts: tuple[int, int],
        settings: DistilEmbeddings,
        seed: int,
        evaluator: Evaluator,
        work: Path,
        run_dir: Path,
        events: EventWriter,
        stop: StopFlag,
    ) -> None:
        self.model = model.eval()
        self.teacher = teacher
        self.snippets = snippets
        self.starts = starts
        self.settings = settings
        self.seed = seed
        self.evaluator = evaluator
        self.work = work
        self.run_dir = run_dir
        self.events = events
        self.stop = stop
        self.device = next(model.parameters()).device
        # A tied matrix is taught by both losses: it is not cut off from the logits.
        alone = teacher is not None and not is_tied(model)
        self.rows = TrainableRows(model, ids, head_alone=alone)
        self.peak = settings.learning_rate or optimisation.peak_learning_rate(
            model.config.get_text_config().hidden_size, "full"
        )
        self.optimizer = self._optimizer()
        self.evaluations: list[dict[str, Any]] = []
        self.orders: dict[int, np.ndarray] = {}
        if teacher is not None:
            through = layers_through(model, settings.layer_share)
            self.seen = HiddenStates(layers(model)[through - 1])
            kept = layers(teacher)
            self.wanted = HiddenStates(kept[through - 1])
            # What lies above is not needed of the teacher.
            del kept[through:]
            teacher.config.get_text_config().num_hidden_layers = through
            teacher.requires_grad_(False).eval()

    def make_plan(self, identity: dict[str, Any], seconds_used: float) -> Plan:
        """The stored plan, or a new one from a measurement of speed.

        Raises SpecInvalid where a stored plan belongs to other settings or other text.
        """
        path = self.work / "plan.json"
        if path.is_file():
            plan = Plan(**json.loads(path.read_text(encoding="utf-8")))
            refuse_changed(STAGE, plan.identity, identity)
            return plan
        began = time.monotonic()
        first = self.measure(0)
        evaluation = time.monotonic() - began
        steps, evaluations = self.settings.steps, self.settings.evaluations
        seconds = None
        if not steps:
            seconds = compute.seconds_per_call(lambda: self.step(0, 0.0))
            self.optimizer = self._optimizer()
            steps, evaluations = compute.fit_into(
                self.settings.minutes,
                used=seconds_used + time.monotonic() - began,
                per_step=seconds,
                evaluations=evaluations,
                per_evaluation=evaluation,
            )
            most = self.settings.epochs * len(self.snippets)
            most = math.ceil(most / self.settings.batch_snippets)
            steps = max(1, min(steps, most))
        plan = Plan(steps, evaluations, seconds, identity)
        manifest.write_json(path, asdict(plan))
        self.events.write("evaluation", stage=STAGE, total=plan.steps, **first)
        return plan

    def train(self, plan: Plan) -> float | None:
        """Make all steps that are left and put the rows into the model.

        Returns the mean loss of the last tenth, None where no step was left. Raises
        Diverged, and Stopped once a checkpoint is on disk.
        """
        step = self.resume()
        if step == plan.steps:
            self.evaluate(step, plan.steps)
        due = evaluation_steps(plan.steps, plan.evaluations)
        progress = Progress(self.events, STAGE, plan.steps)
        saved, losses = time.monotonic(), []
        while step < plan.steps:
            if self.stop.requested:
                self.save(step)
                raise Stopped
            rate = optimisation.learning_rate_at(
                step,
                plan.steps,
                peak=self.peak,
                warmup_share=WARMUP_SHARE,
                final_share=FINAL_SHARE,
            )
            loss, snippets = self.step(step, rate)
            if not math.isfinite(loss):
                raise Diverged(
                    f"The loss stopped being a number at step {step + 1} of "
                    f"{plan.steps}; the last checkpoint is kept."
                )
            step += 1
            if step > plan.steps * 0.9:
                losses.append(loss)
            progress.step(
                step,
                loss=loss,
                rate=rate,
                tokens=sum(len(snippet.student) for snippet in snippets),
                bytes=sum(snippet.bytes for snippet in snippets),
            )
            if step in due:
                self.evaluate(step, plan.steps)
                progress.pause()
            if time.monotonic() - saved > 60 * self.settings.checkpoint_minutes:
                self.save(step)
                progress.pause()
                saved = time.monotonic()
        self.rows.write()
        return round(sum(losses) / len(losses), 6) if losses else None

    def step(self, number: int, rate: float) -> tuple[float, list[Snippet]]:
        """One optimizer step on the snippets of that number: its loss, and they.

        Memory asks for parts whose gradients are added: the logits of a big vocabulary
        are the largest tensor.
        """
        snippets = self._snippets_of(number)
        total = 0.0
        for part in self._parts(snippets):
            loss = self.loss(make_batch(part, self.starts), snippets)
            loss.backward()
            total += loss.item()
        norm = optimisation.clip_gradients(self.rows.parameters.values())
        if not math.isfinite(norm):
            return math.nan, snippets
        optimisation.set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total, snippets

    def loss(self, batch: Batch, snippets: Sequence[Snippet]) -> torch.Tensor:
        """The loss of a batch, as a share of that of all `snippets` of the step."""
        student = batch.student.to(self.device)
        logits = self.model(input_ids=student, use_cache=False).logits
        prediction = functional.cross_entropy(
            logits.float().flatten(0, 1),
            batch.labels.to(self.device).flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        ) / sum(len(snippet.student) for snippet in snippets)
        if self.teacher is None:
            return prediction
        with torch.no_grad():
            ids = batch.teacher.to(self.device)
            self.teacher.base_model(input_ids=ids, use_cache=False)
            wanted = self.wanted.take()[batch.rows, batch.teachers]
        seen = self.seen.take()[batch.rows, batch.students]
        difference = functional.mse_loss(seen, wanted, reduction="sum") / (
            wanted.shape[-1] * sum(len(snippet.places) for snippet in snippets)
        )
        if self.rows.tied:
            least = torch.finfo(prediction.dtype).tiny  # known by heart it is 0
            ratio = difference / prediction.clamp_min(least)
            prediction = prediction * ratio.detach()
        return difference + prediction

    def measure(self, step: int) -> dict[str, Any]:
        """Bits per byte and answers as they are after `step` steps."""
        evaluation = {"step": step, **self.evaluator.point()}
        self.evaluations.append(evaluation)
        return evaluation

    def last_bits(self) -> dict[str, float | None]:
        """The last point of the curves."""
        roles = ("target", "protected")
        return {
            name: self.evaluations[-1][name]
            for name in (f"{role}_bits_per_byte" for role in roles)
        }

    def evaluate(self, step: int, total: int) -> None:
        """A point of the curves and the prompts' answers, written as an event."""
        self.events.write("evaluation", stage=STAGE, total=total, **self.measure(step))

    def save(self, step: int) -> None:
        """Write a checkpoint (rows and optimizer) and its event."""
        folder, digest = checkpoints.save(
            self.work / "checkpoints", step, self.rows.parameters, self.optimizer
        )
        self.events.write(
            "checkpoint",
            stage=STAGE,
            step=step,
            path=folder.relative_to(self.run_dir).as_posix(),
            manifest_sha256=digest,
        )

    def resume(self) -> int:
        """Go back to the newest whole checkpoint; returns its step, or 0."""
        folder = checkpoints.newest(self.work / "checkpoints")
        if folder is None:
            return 0
        step = checkpoints.load(folder, self.rows.parameters, self.optimizer)
        self.events.note(f"Going on from the checkpoint of step {step}.")
        return step

    def _optimizer(self) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            self.rows.parameters.values(),
            lr=self.peak,
            betas=optimisation.BETAS,
            weight_decay=0.0,
            fused=True,
        )

    def _snippets_of(self, number: int) -> list[Snippet]:
        """The snippets of a step: a new random order each time round."""
        size, count = self.settings.batch_snippets, len(self.snippets)
        found = []
        for place in range(number * size, (number + 1) * size):
            turn = place // count
            if turn not in self.orders:
                order = np.random.default_rng([self.seed, turn]).permutation(count)
                self.orders = {turn: order}
            found.append(self.snippets[self.orders[turn][place % count]])
        return found

    def _parts(self, snippets: Sequence[Snippet]) -> Iterator[Sequence[Snippet]]:
        rows = self.model.config.get_text_config().vocab_size
        longest = 1 + max(len(snippet.student) for snippet in snippets)
        at_once = max(1, LOGITS_AT_ONCE[self.device.type] // (rows * longest))
        for first in range(0, len(snippets), at_once):
            yield snippets[first : first + at_once]
