"""Supervised fine-tuning with LoRA: batches, plan, trainer.

`training/stages/tune_instructions.py` calls these in order. The order of all batches is
fixed before the first step (`batch_order`) and the trainer reads it from front to back,
so that a resumed run sees exactly the examples that are left.

Batches are padded, with examples of like length together, or packed (sft_packing.py).
TRL's own packing puts a whole batch into one row; without variable-length attention
kernels that costs the square of the row, so it is not used.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
)
from trl import SFTConfig, SFTTrainer

from training import compute, manifest
from training.data.packing import IGNORED
from training.errors import Diverged
from training.head_loss import HeadLoss
from training.micro_batches import MicroBatches, drop_gradients
from training.ranks import ALONE, Ranks
from training.self_correction import Revision, SelfCorrection
from training.spec import TuneInstructions
from training.tuning.sft_example import Example
from training.tuning.sft_packing import MarkingCollator, PackingCollator, marks
from training.tuning.together import Together, share
from training.tuning.watcher import Watcher, newest_checkpoint

POINTS_OF_A_CURVE = 200
WARMUP_SHARE = 0.05
# Examples are sorted by length within this many batches: enough for little padding,
# few enough that every part of an epoch sees all lengths.
BUCKET_BATCHES = 32
# Of one forward pass at most: tokens, and logits where they are held whole (float32:
# 128 MB on a CPU, 4 GB on a GPU). Larger batches are accumulated.
TOKENS_AT_ONCE = 8_192
LOGITS_AT_ONCE = {"cpu": 2**25, "cuda": 2**30}


class Paced(Protocol):
    """What a plan is made from: settings of a stage that trains."""

    minutes: float
    steps: int
    epochs: float
    evaluations: int
    precision: str


@dataclass(frozen=True)
class Plan:
    """What is decided once: a resumed run goes on with the same numbers."""

    steps: int
    evaluations: int
    precision: str
    seconds_per_step: float
    examples: int


def batch_order(
    lengths: Sequence[int], *, batch: int, steps: int, seed: int
) -> list[int]:
    """Indices of the examples of all steps, one batch after the other.

    Every pass over the examples is shuffled anew; a batch has examples of like length.
    With fewer examples than a batch holds some stand in it more than once.
    """
    dice = random.Random(seed)  # noqa: S311 - the order of examples is no secret
    order: list[int] = []
    while len(order) < steps * batch:
        indices = list(range(len(lengths)))
        dice.shuffle(indices)
        size = batch * BUCKET_BATCHES
        batches = []
        for start in range(0, len(indices), size):
            bucket = sorted(indices[start : start + size], key=lengths.__getitem__)
            batches += [bucket[i : i + batch] for i in range(0, len(bucket), batch)]
        dice.shuffle(batches)
        # A short last batch would shift all that follow across batches of other length.
        batches.sort(key=lambda part: len(part) < batch)
        order += [index for part in batches for index in part]
    return order[: steps * batch]


def vocabulary_rows(model: PeftModel) -> int:
    """Rows of the model's input matrix."""
    return model.get_input_embeddings().weight.shape[0]


def micro_batch(
    batch: int,
    longest: int,
    *,
    rows: int = 1,
    device: str = "cpu",
    tokens: int = TOKENS_AT_ONCE,
) -> int:
    """Examples of one forward pass: the largest divisor of `batch` that fits.

    `longest` is in tokens, `rows` is the size of the vocabulary where logits are held
    whole, `tokens` what a pass takes otherwise.
    """
    tokens = min(TOKENS_AT_ONCE, tokens, LOGITS_AT_ONCE[device] // rows)
    fits = max(1, tokens // max(1, longest))
    return max(d for d in range(1, batch + 1) if batch % d == 0 and d <= fits)


def make_plan(
    path: Path,
    model: PeftModel,
    batches: list[list[Example]],
    settings: Paced,
    *,
    batch: int,
    examples: int,
    device: torch.device,
    pad: int,
    evaluate: Callable[[], object],
    began: float,
    micro_batches: MicroBatches | None = None,
    tokens: int = TOKENS_AT_ONCE,
    ranks: Ranks = ALONE,
) -> Plan:
    """Steps, evaluations and precision from the minutes, the passes and a measurement
    of speed; `began` is the monotonic time from which the minutes count.

    `batches` are a few steps to measure on, `batch` how many of the `examples` a step
    takes; `micro_batches` (or `tokens`) says how much of it goes through the model at
    once. Written to `path` the first time and read from it ever after. Among several
    `ranks` each measures its share, and the plan is the first one's.
    """
    known = path.is_file() and json.loads(path.read_text(encoding="utf-8"))
    if known := ranks.from_first(known):
        return Plan(**known)
    batches = [share(part, ranks, pad) for part in batches]
    head_loss = HeadLoss(model)
    undo = drop_gradients(list(model.parameters()))

    def measure(precision: str) -> float:
        def once() -> None:
            for part in batches:
                longest = max(len(example.input_ids) for example in part)
                shape = len(part), longest

                def step(rows: int, part: list[Example] = part) -> None:
                    _one_step(head_loss, part, rows, device, precision, pad)

                if micro_batches is None:
                    step(micro_batch(*shape, device=device.type, tokens=tokens))
                else:
                    micro_batches.attempt(0, shape, step, undo)
                ranks.add_up(model.parameters())
                undo()

        seconds = compute.seconds_per_call(once, calls=1, agreed=ranks.largest)
        return seconds / len(batches)

    precision, seconds = compute.choose_precision(settings.precision, measure, device)
    steps, evaluations = settings.steps, settings.evaluations
    if not steps:
        before = time.monotonic()
        evaluate()
        now = time.monotonic()
        steps, evaluations = compute.fit_into(
            settings.minutes,
            used=now - began,
            per_step=seconds[precision],
            evaluations=evaluations,
            per_evaluation=now - before,
        )
        steps = min(steps, steps_of_passes(settings, examples, batch))
    plan = Plan(steps, evaluations, precision, seconds[precision], examples)
    plan = ranks.from_first(plan)  # each has a clock of its own
    if ranks.first:
        manifest.write_json(path, asdict(plan))
    return plan


def steps_of_passes(settings: Paced, examples: int, batch: int) -> int:
    """The steps of all passes over the examples."""
    return max(1, math.ceil(settings.epochs * examples / batch))


def first_batches(
    examples: list[Example], *, batch: int, seed: int, steps: int = 3
) -> list[list[Example]]:
    """The first steps of an order, to measure speed on."""
    lengths = [len(example.input_ids) for example in examples]
    order = batch_order(lengths, batch=batch, steps=steps, seed=seed)
    return [
        [examples[i] for i in order[start : start + batch]]
        for start in range(0, len(order), batch)
    ]


def _one_step(
    head_loss: HeadLoss,
    examples: list[Example],
    size: int,
    device: torch.device,
    precision: str,
    pad: int,
) -> None:
    """Forward and backward over a batch, `size` examples at once, gradients thrown
    away."""
    # One example a row is packing too.
    collate = MarkingCollator(PackingCollator(pad, head_loss.model.config))
    revises = any(example.revised for example in examples)
    for start in range(0, len(examples), size):
        part = [_row(e) for e in examples[start : start + size]]
        inputs = compute.to_device(collate(part), device)
        if not examples[start].documents:
            del inputs["attention_mask"], inputs["position_ids"]
        labels, marked = inputs.pop("labels"), inputs.pop("revised")
        head_loss.backward(
            {**inputs, "use_cache": False},
            _following(labels),
            1,
            lambda: compute.autocast(device, precision),
            # What it costs does not depend on how much is revised.
            Revision(1.0, 1.0, _following(marked, 0) > 0) if revises else None,
        )
    head_loss.model.zero_grad(set_to_none=True)


def _some(inputs: dict[str, Any], rows: slice) -> dict[str, Any]:
    """Some rows of a batch; a mask for each type of layer is a dictionary of its own."""
    return {
        name: _some(value, rows) if isinstance(value, dict) else value[rows]
        for name, value in inputs.items()
        if value is not None
    }


def _following(labels: torch.Tensor, empty: int = IGNORED) -> torch.Tensor:
    """The label that each position predicts, of labels that stand at their own."""
    return torch.nn.functional.pad(labels[:, 1:], (0, 1), value=empty)


class AnswerTrainer(Together, SFTTrainer):
    """TRL's trainer on examples that already have labels; stops when it diverges.

    The loss is computed here: TRL 1.16 reads the weight and bias of the output matrix by
    name, and under peft's trainable token rows that matrix has no bias to read.
    """

    def __init__(
        self,
        *args: Any,
        micro_batches: MicroBatches,
        correction: SelfCorrection | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.micro_batches = micro_batches
        self.head_loss = HeadLoss(self.model)
        self.correction = correction
        if correction:
            self.data_collator = MarkingCollator(self.data_collator)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        labels = inputs.pop("labels")
        following, revision = _following(labels), None
        if self.correction:
            marked = _following(inputs.pop("revised"), 0) > 0
            revision = self.correction.at(self.state.global_step, marked)
        precision = "bfloat16" if self.args.bf16 else "float32"
        with compute.autocast(labels.device, precision):
            total = self.head_loss.summed(
                {**inputs, "use_cache": False}, following, revision
            )
        if num_items_in_batch is None:
            num_items_in_batch = (following >= 0).sum()
        items = torch.as_tensor(num_items_in_batch, device=total.device)
        loss = total / items.clamp(min=1)
        if not torch.isfinite(loss):
            raise Diverged(
                "The loss of the instruction tuning is no longer a number, at step "
                f"{self.state.global_step + 1}."
            )
        return (loss, {}) if return_outputs else loss

    def training_step(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Gradients of one forward pass; in parts of it where memory is full.

        What the passes before have added is put back before a part is tried again.
        """
        step = super().training_step
        if num_items_in_batch is None:  # a mean: its parts would weigh differently
            assert self.ranks.size == 1
            return step(model, inputs, num_items_in_batch)
        kept = {
            weight: None if weight.grad is None else weight.grad.clone()
            for weight in model.parameters()
            if weight.requires_grad
        }

        def undo() -> None:
            for weight, gradient in kept.items():
                weight.grad = None if gradient is None else gradient.clone()

        def parts(rows: int) -> torch.Tensor:
            return torch.stack(
                [
                    step(
                        model,
                        _some(inputs, slice(i, i + rows)),
                        num_items_in_batch,
                    )
                    for i in range(0, count, rows)
                ]
            ).sum()

        count = len(inputs["input_ids"])
        loss = self.micro_batches.attempt(
            self.state.global_step, tuple(inputs["input_ids"].shape), parts, undo
        )
        return self.together(model, loss)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card per checkpoint: the report is the card."""


def trainer_arguments(
    work: Path,
    settings: TuneInstructions,
    plan: Plan,
    *,
    batch: int,
    longest: int,
    tokens: int,
    seed: int,
    device: torch.device,
) -> SFTConfig:
    """The trainer's configuration; `batch` rows a step in this process, `longest` of them
    in tokens, `tokens` what a forward pass takes."""
    values = trainer_values(
        work,
        plan,
        batch=batch,
        at_once=micro_batch(batch, longest, device=device.type, tokens=tokens),
        learning_rate=settings.learning_rate,
        seed=seed,
        device=device,
    )
    values["activation_checkpointing"] = False  # training/forward_passes.py decided
    return one_device(
        SFTConfig(
            dataset_kwargs={"skip_prepare_dataset": True}, max_length=None, **values
        )
    )


def warmup_steps(steps: int) -> int:
    """Over how many of all steps the learning rate rises.

    The first of them has a rate of 0 and teaches nothing: a run whose share of warm-up
    is less than a step has none, or its only step would be lost.
    """
    share = WARMUP_SHARE * steps
    return math.ceil(share) if share >= 1 else 0


def trainer_values(
    work: Path,
    plan: Plan,
    *,
    batch: int,
    at_once: int,
    learning_rate: float,
    seed: int,
    device: torch.device,
) -> dict[str, Any]:
    """What every trainer of trl is told, so that it stays offline and quiet and takes
    batches of `batch` (in each process) in the order of the rows, `at_once` in a forward
    pass. The learning rate warms up and falls to nothing along a cosine."""
    return {
        "output_dir": str(work),
        "max_steps": plan.steps,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": batch // at_once,
        "train_sampling_strategy": "sequential",
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": warmup_steps(plan.steps),
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch",
        "bf16": plan.precision == "bfloat16",
        "activation_checkpointing": device.type == "cuda",
        "use_cpu": device.type == "cpu",
        "seed": seed,
        "logging_steps": max(1, plan.steps // POINTS_OF_A_CURVE),
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "push_to_hub": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": device.type == "cuda",
    }


def one_device(arguments: Any) -> Any:
    """A job has one device. Trainer would spread batches over all it sees, and a step
    would take more examples than were planned."""
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def rows_of(examples: list[Example]) -> Dataset:
    """The examples as the trainer reads them."""
    names = ["input_ids", "labels"]
    if any(example.documents for example in examples):
        names.append("documents")
    columns = {n: [getattr(e, n) for e in examples] for n in names}
    if any(example.revised for example in examples):
        columns["revised"] = [marks(example) for example in examples]
    return Dataset.from_dict(columns)


def _row(example: Example) -> dict[str, list[int]]:
    """An example as the collator reads it, alone in its row where it is not packed."""
    return {
        "input_ids": example.input_ids,
        "labels": example.labels,
        "documents": example.documents or [0] * len(example.input_ids),
        "revised": marks(example),
    }


def train(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: list[Example],
    order: list[int],
    arguments: SFTConfig,
    watcher: Watcher,
    micro_batches: MicroBatches,
    ranks: Ranks = ALONE,
    correction: SelfCorrection | None = None,
) -> float:
    """Train from the newest whole checkpoint to the end or to the stop; the mean loss.

    `watcher.stopped` says which; `correction` is for examples with revised labels.
    Raises Diverged.
    """
    packed = any(example.documents for example in examples)
    revises = any(example.revised for example in examples)
    arguments.remove_unused_columns = not (packed or revises)
    collator = PackingCollator(tokenizer.pad_token_id, model.config)
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        train_dataset=rows_of(examples).select(order),
        processing_class=tokenizer,
        data_collator=collator if packed else None,
        callbacks=[watcher],
        micro_batches=micro_batches,
        correction=correction if revises else None,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.join(ranks)
    resume = newest_checkpoint(Path(arguments.output_dir), ranks)
    result = trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return float(result.training_loss)
