"""Read the language's text, with some protected text replayed.

In full training the weights learn, all or a selection of them. Otherwise additions to
the layers learn, and rows of the embeddings; they are merged into the weights at the
end. Writes

    model/                  the model that goes on, with its tokenizer
    adapter_pretraining/    the additions, where they belong to the stage's base
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from training import adapters, compute, merging
from training.adapters import bottleneck
from training.data.packing import Packer
from training.data.rows import read_texts
from training.data.sources import Mix
from training.data.tokens import fingerprint
from training.errors import Stopped
from training.evaluation.bits_per_byte import maximum_positions
from training.evaluation.evaluator import Evaluator
from training.families import load_model, load_tokenizer
from training.manifest import file_sha256
from training.pretraining import lottery, selection
from training.pretraining.loop import Plan, Pretraining
from training.ranks import ALONE, Ranks, start
from training.spec import ContinuePretraining

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from training.run import StageContext

# Models below this are stored in float32: the space does not matter and nothing is
# rounded. Larger ones keep the type of the base.
SMALL_MODEL = 200_000_000
COMPARED_TEXTS = 4
# In float32; the tolerance of the stage `merge`.
MERGE_TOLERANCE = 1e-3


def run(context: StageContext) -> dict[str, Any]:
    """Train and save, in this process or in several that it starts; returns steps,
    precision, losses and the curve's last point.

    Raises Diverged, OutOfMemory, ProcessDied, ReloadDiffers, SpecInvalid, Stopped.
    """
    return start.learn(context, train)


def train(context: StageContext, ranks: Ranks) -> dict[str, Any]:
    """The work of one process; all but the first of several return no figures."""
    began = time.monotonic()
    settings = cast(ContinuePretraining, context.settings)

    # 1. Where to compute.
    device = compute.prepare_device(context.spec.device)
    compute.seed_everything(context.spec.seed)

    # 2. The model, and what of it learns.
    tokenizer = load_tokenizer(context.model)
    stored = merging.stored_dtype(context.model)
    rows = new_rows(context, tokenizer)
    refuse_nothing_to_forget(settings, rows)
    with compute.memory_errors("The model does not fit into memory."):
        with ranks.first_before_others():
            # What becomes parts goes to the device in parts.
            place = torch.device("cpu") if ranks.sharded else device
            model = load(context, settings, rows, place)

    # 3. The text, as ids in a mapped file.
    with ranks.first_before_others():
        packer = make_packer(context, settings, tokenizer, model)

    # 4. Steps, curves, checkpoints.
    def loop(learning: selection.Selection) -> Pretraining:
        return Pretraining(
            model=model,
            selection=learning,
            new_rows=rows,
            packer=packer,
            evaluator=Evaluator(
                model, tokenizer, context.spec, context.prepared, "validation"
            ),
            settings=settings,
            device=device,
            work=context.work,
            run_dir=context.run_dir,
            events=context.events,
            stop=context.stop,
            ranks=ranks,
        )

    with compute.memory_errors(
        f"A step with blocks of {packer.block_tokens:,} tokens does not fit into memory."
    ):
        chosen = rows
        if settings.trains == "lottery_rows":
            known = sorted(set(tokenizer.get_vocab().values()))
            chosen = draw_lots(model, settings, loop, context.work, known)
        pretraining = loop(what_learns(model, settings, chosen, context.spec.seed))
        plan = pretraining.make_plan(
            identity(context, tokenizer), time.monotonic() - began
        )
        loss = pretraining.train(plan)

    # 5. Save, read back, compare.
    trained = ranks.whole(pretraining.trained)
    if not ranks.first:
        return {}
    if ranks.sharded:
        model = whole_model(context, rows, trained)
    figures = save(context, model, tokenizer, stored)
    return {**summary(pretraining, plan, loss), **figures}


def summary(pretraining: Pretraining, plan: Plan, loss: float | None) -> dict[str, Any]:
    """The figures of the training itself."""
    last = pretraining.evaluations[-1]
    return {
        "steps": plan.steps,
        "passes": round(plan.steps / pretraining.packer.steps_of_an_epoch(), 4),
        "precision": plan.precision,
        "compiled": plan.compiled,
        "learning_rate": pretraining.peak,
        "loss": loss,
        "target_bits_per_byte": last["target_bits_per_byte"],
        "protected_bits_per_byte": last["protected_bits_per_byte"],
        "trained_parameters": pretraining.selection.size(),
    }


def load(
    context: StageContext,
    settings: ContinuePretraining,
    rows: list[int],
    device: torch.device,
) -> PreTrainedModel:
    """The stage's model, with its low-rank additions where the method has them."""
    if settings.method not in adapters.LOW_RANK:
        return load_model(context.model, device=device)
    additions = adapters.Additions.of(settings, rows)
    adapters.check(additions, settings.stage)
    quantization = adapters.quantization(additions)
    model = load_model(context.model, device=device, quantization=quantization)
    return adapters.attach(
        model,
        additions,
        stage=settings.stage,
        start=context.work / "additions.safetensors",
    )


def whole_model(
    context: StageContext, rows: list[int], trained: dict[str, torch.Tensor]
) -> PreTrainedModel:
    """A model in one piece, on the CPU, with the weights that were learned in parts."""
    settings = cast(ContinuePretraining, context.settings)
    model = load(context, settings, rows, torch.device("cpu"))
    parameters = dict(model.named_parameters())
    ALONE.put(trained, {name: parameters[name] for name in trained})
    return model


def make_packer(
    context: StageContext,
    settings: ContinuePretraining,
    tokenizer: PreTrainedTokenizerFast,
    model: PreTrainedModel,
) -> Packer:
    """The training text as blocks that fit the model."""
    return text_mix(context, settings).packer(
        tokenizer,
        min(settings.block_tokens, maximum_positions(model)),
        lambda sentence: context.events.note(sentence, level="warning"),
    )


def text_mix(context: StageContext, settings: ContinuePretraining) -> Mix:
    """Which of the prepared text is read, and how much of each."""
    spec = context.spec
    return Mix(settings, context.prepared, context.work, spec.language, spec.seed)


def identity(
    context: StageContext, tokenizer: PreTrainedTokenizerFast
) -> dict[str, Any]:
    """What a checkpoint is only good for: text, tokenizer, model, settings, seed."""
    mix = text_mix(context, cast(ContinuePretraining, context.settings))
    weights = sorted(context.model.glob("*.safetensors"))
    return {
        **asdict(context.settings),
        **mix.identity(),
        "seed": context.spec.seed,
        "tokenizer": fingerprint(tokenizer),
        "weights": [file_sha256(path) for path in weights],
    }


def new_rows(context: StageContext, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Ids whose row was made for a new token, rising; ids of a base can have gaps.

    For an extended vocabulary these are the ids that the base's tokenizer did not have;
    for a replaced or pruned one the stage says in kept.json (new id: old id) which rows
    were carried over.
    """
    ids = set(tokenizer.get_vocab().values())
    extended = context.finished.get("extend_vocabulary")
    if extended is not None and (extended / "kept.json").is_file():
        kept = json.loads((extended / "kept.json").read_text(encoding="utf-8"))
        return sorted(ids - {int(new) for new in kept})
    return sorted(
        ids - set(load_tokenizer(Path(context.spec.base)).get_vocab().values())
    )


def refuse_nothing_to_forget(settings: ContinuePretraining, rows: list[int]) -> None:
    """Raise SpecInvalid where new rows are to be reset and there are none."""
    if settings.forget_every_steps and settings.forget_rows == "new_rows" and not rows:
        raise settings.unfit(
            "forget_rows", "the tokenizer has no new tokens; choose all"
        )


def what_learns(
    model: PreTrainedModel, settings: ContinuePretraining, rows: list[int], seed: int
) -> selection.Selection:
    """The weights that learn; puts bottlenecks into the model where they are asked for."""
    if settings.method == "full":
        return selection.of_settings(model, settings, rows, seed)
    if settings.method == "bottleneck":
        names = selection.layer_names(model)
        numbers = selection.chosen_layers(
            len(names), settings.first_layers, settings.last_layers
        )
        bottleneck.attach(model, settings.bottleneck_width, numbers)
        return selection.beside_additions(model, settings.adapter_embeddings, rows)
    return selection.Selection(model)


def draw_lots(
    model: PreTrainedModel,
    settings: ContinuePretraining,
    loop: Callable[[selection.Selection], Pretraining],
    work: Path,
    among: list[int],
) -> list[int]:
    """The rows of the input matrix, of the ids `among`, that win the lottery; raises
    Stopped."""
    matrix = model.get_input_embeddings().weight
    name = next(name for name, p in model.named_parameters() if p is matrix)

    def trial() -> None:
        trying = loop(selection.Selection(model, always=[name]))
        precision = "float32" if settings.precision == "auto" else settings.precision
        batches = trying.packer.batches()
        model.train()
        for _ in range(settings.lottery_steps):
            if trying.stop.requested:
                raise Stopped
            trying.step(next(batches), trying.peak, precision)

    return lottery.winning_rows(
        matrix, settings.lottery_rows, trial, work / "lottery.json", among
    )


def save(
    context: StageContext,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    stored: torch.dtype,
) -> dict[str, Any]:
    """Write model/ and, for additions, adapter_pretraining/; raises ReloadDiffers.

    Merged and read-back logits are compared with the trained model's on held-out text.
    """
    figures: dict[str, Any] = {}
    # The folder is read back on the CPU: another device adds up in another order.
    model = model.cpu()
    held_out = read_texts(context.prepared / "target-held_out.jsonl")
    texts = [
        text[:400] for text, _ in zip(held_out, range(COMPARED_TEXTS), strict=False)
    ]
    ids = merging.encode(tokenizer, texts)
    settings = cast(ContinuePretraining, context.settings)
    if settings.method != "full":
        before = merging.measure(model, ids)
        model = merge(model, settings, context.folder / "adapter_pretraining")
        merged = merging.measure(model, ids)
        difference = merging.largest_difference(before.logits, merged.logits)
        merging.refuse_logits("merged", difference, MERGE_TOLERANCE)
        figures["merge_difference"] = difference
    if model.num_parameters() >= SMALL_MODEL:
        merging.cast_weights(model, stored)
    # What is compared is what can be stored: rounding is no defect of the folder.
    merging.cast_weights(model, torch.float32)
    expected = merging.measure(model, ids)
    if model.num_parameters() >= SMALL_MODEL:
        merging.cast_weights(model, stored)
    folder = context.folder / "model"
    merging.save_model(model, tokenizer, folder, context.model)
    figures["reload_difference"] = merging.verify_folder(
        folder, tokenizer, texts, expected
    )
    return figures


def merge(
    model: Any, settings: ContinuePretraining, additions: Path
) -> PreTrainedModel:
    """The plain model with the additions in it; they are saved before, where they belong
    to a base that somebody has (not to one that was rounded on the way)."""
    if settings.method == "bottleneck":
        bottleneck.save(model, additions)
        return bottleneck.merge(model)
    if settings.method not in adapters.ROUNDED_BASE:
        adapters.save_adapter(model, additions)
    return adapters.merge(model)
