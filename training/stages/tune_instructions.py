"""Learn to answer: low-rank additions on instructions, translations and plain text.

Reads what `prepare` left (training/tuning/instruction_material.py says how it becomes
examples) and the model of the stages before; an adapter among them is put into the
weights first. Writes

    base/       that model with tokenizer, chat template and rows for new markers
    adapter/    the additions; they belong to base/ and to no other folder

or `model/` where additions belong to a rounded base and are merged (qlora, loftq), and
where there is nothing to answer: then the same weights with a chat template. Labels stand
on answers and their end only (training/templates.py); plain text is learned whole. How
long, in which precision and in which order is decided once and kept in the stage's work
folder together with the checkpoints.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from training import adapters, compute, families, forward_passes, merging, templates
from training.data import instructions
from training.data.tokens import encode as encode_texts
from training.data.tokens import start_id
from training.errors import BaseUnsuitable, Stopped
from training.evaluation.bits_per_byte import maximum_positions
from training.evaluation.evaluator import Evaluator
from training.generate import Generator
from training.micro_batches import MicroBatches
from training.ranks import Ranks, start
from training.self_correction import SelfCorrection
from training.spec import STEPS_TO_ANSWER, TuneInstructions
from training.tuning import sft
from training.tuning.instruction_material import collect
from training.tuning.self_writing import SelfWriter, require_instructed
from training.tuning.sft_packing import pack
from training.tuning.starting import load_start
from training.tuning.together import even
from training.tuning.watcher import Watcher

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from training.run import StageContext

STAGE = "tune_instructions"


def run(context: StageContext) -> dict[str, Any]:
    """Tune and write the adapter, in this process or in several that it starts; returns
    figures. Raises Stopped, Diverged, OutOfMemory, ProcessDied."""
    return start.learn(context, train)


def train(context: StageContext, ranks: Ranks) -> dict[str, Any]:
    """The work of one process; all but the first of several return no figures."""
    began = time.monotonic()
    settings = cast(TuneInstructions, context.settings)
    device = compute.prepare_device(context.spec.device)
    compute.seed_everything(context.spec.seed)
    adapters.check(adapters.Additions.of(settings), STAGE)
    model, tokenizer, stored, folder = load_start(context)
    answers = bool(tokenizer.chat_template)
    form = prepare_chat(model, tokenizer)

    def writer() -> SelfWriter:
        require_instructed(context, "Writing instructions and translations by itself")
        return SelfWriter(Generator(model.to(device), tokenizer), form)

    asked = time.monotonic()
    found = ranks.by_first(lambda: collect(context, settings, writer))
    if settings.writes:
        began += time.monotonic() - asked  # its minutes are not those of the tuning
    # New rows are rounded like the others, so that the adapter is trained on what is
    # stored and not on something finer.
    merging.cast_weights(model.to("cpu"), stored)
    if not found.chats:
        return _skip(context, model, tokenizer, folder) if ranks.first else {}
    if ranks.first:
        merging.save_model(model, tokenizer, context.folder / "base", folder)
    longest = min(settings.maximum_tokens, maximum_positions(model))
    examples = encode(
        tokenizer,
        form,
        found,
        longest,
        whole=settings.loss != "answers",
        revised=settings.self_correction > 0,
    )
    note_losses(context, found, len(examples))
    if not examples:
        raise BaseUnsuitable(
            f"None of the {len(found)} examples can be learned from: the base's chat "
            "template does not take them, or their question alone fills the longest "
            f"example ({longest:,} tokens).",
            hint="Set “Longest example” higher, or choose another base model.",
        )
    compute.seed_everything(context.spec.seed)
    with ranks.first_before_others():
        tuned = attach(context, model, form, device)
    with compute.memory_errors("The device ran out of memory while tuning."):
        plan, watcher, loss = _tune(
            context, tuned, tokenizer, examples, device, began, ranks, answers=answers
        )
    if watcher.stopped:
        raise Stopped
    if not ranks.first:
        return {}
    trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    finish(context, tuned, tokenizer, settings.method)
    return {
        **found.counts,
        "origins": found.by_origin(),
        "examples": len(examples),
        "steps": plan.steps,
        "passes": round(plan.steps * settings.batch_examples / len(examples), 2),
        "precision": plan.precision,
        "seconds_per_step": round(plan.seconds_per_step, 4),
        "mean_loss": round(loss, 4),
        "trained_parameters": trained,
        "new_markers": len(form.added),
    }


def attach(
    context: StageContext,
    model: PreTrainedModel,
    form: templates.ChatFormat,
    device: Any,
) -> PeftModel:
    """The saved base with the additions of the settings, on the device."""
    base = context.folder / "base"
    additions = adapters.Additions.of(context.settings, form.markers)
    if rounded := adapters.quantization(additions):
        model = families.load_model(base, device=device, quantization=rounded)
    else:
        model = merging.cast_weights(model, torch.float32).to(device)
    model.name_or_path = str(base)
    begun = context.work / "start.safetensors"
    return adapters.attach(model, additions, stage=context.settings.stage, start=begun)


def finish(
    context: StageContext,
    tuned: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    method: str,
) -> None:
    """Write the adapter, or the merged model where the adapter has no base to stand on;
    `base/` then goes."""
    if method not in adapters.ROUNDED_BASE:
        save_adapter(tuned, tokenizer, context.folder / "adapter")
        return
    base, into = context.folder / "base", context.folder / "model"
    stored = merging.stored_dtype(base)
    model = merging.cast_weights(adapters.merge(tuned).to("cpu"), stored)
    texts = list(merging.NEUTRAL_TEXTS)
    merging.cast_weights(model, torch.float32)
    facts = merging.measure(model, merging.encode(tokenizer, texts))
    merging.save_model(merging.cast_weights(model, stored), tokenizer, into, base)
    merging.verify_folder(into, tokenizer, texts, facts)
    shutil.rmtree(base)


def prepare_chat(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> templates.ChatFormat:
    """Template, markers with rows, and special ids that agree everywhere."""
    families.pad_token(tokenizer, model)
    form = templates.set_up(tokenizer)
    templates.fit_rows(model, tokenizer, form)
    templates.agree_on_special_ids(model, tokenizer, form)
    return form


def encode(
    tokenizer: PreTrainedTokenizerBase,
    form: templates.ChatFormat,
    found: instructions.Examples,
    maximum_tokens: int,
    *,
    whole: bool = False,
    revised: bool = False,
) -> list[sft.Example]:
    """Ids and labels (with `whole` of every token); examples that the template refuses
    or whose answer is cut off altogether are left out. `revised` marks the answers of
    translations, whose labels the model may revise."""
    accepted = templates.message_filter(tokenizer)
    examples = []
    for turns, origin in zip(found.chats, found.origins, strict=True):
        if not accepted(turns):
            continue
        ids, labels = templates.encode_chat(tokenizer, turns, form)
        marked = revised and origin in instructions.TRANSLATIONS
        answers = [int(label >= 0) for label in labels] if marked else []
        if whole:
            labels = [templates.IGNORED, *ids[1:]]
        size = sum(len(turn["content"].encode()) for turn in turns)
        examples.append(
            sft.Example(
                ids[:maximum_tokens],
                labels[:maximum_tokens],
                size,
                revised=answers[:maximum_tokens],
            )
        )
    start, end = start_id(tokenizer), families.end_of_text_id(tokenizer)
    pieces_of = encode_texts(tokenizer, found.texts)
    for text, pieces in zip(found.texts, pieces_of, strict=True):
        ids = [start, *pieces, end][:maximum_tokens]
        labels = [templates.IGNORED, *ids[1:]]
        examples.append(sft.Example(ids, labels, len(text.encode())))
    return [e for e in examples if any(label >= 0 for label in e.labels)]


def note_losses(context: StageContext, found: instructions.Examples, kept: int) -> None:
    """Say how many rows taught nothing, so that a wrong format is not found too late."""
    if unreadable := found.counts["unreadable"]:
        context.events.note(
            f"{unreadable} instruction rows were left out: they hold no question with "
            "an answer.",
            level="warning",
        )
    if kept < len(found):
        context.events.note(
            f"{len(found) - kept} examples were left out: the base's chat template "
            "does not take them, or their question alone fills the longest example.",
            level="warning",
        )


def note_few_steps(context: StageContext, steps: int, passes: int) -> None:
    """Say so where the time is too short to learn to answer; `passes` are the steps of
    all passes over the examples."""
    wanted = min(STEPS_TO_ANSWER, passes)
    if steps < wanted:
        context.events.note(
            f"There is time for only {steps} steps of learning to answer; a small model "
            f"took about {wanted}, and repeats itself with fewer. Where that happens "
            f"launch again with about {math.ceil(wanted / steps)} times the minutes, or "
            "when the machine has less to do.",
            level="warning",
        )


def _tune(
    context: StageContext,
    tuned: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: list[sft.Example],
    device: Any,
    began: float,
    ranks: Ranks,
    *,
    answers: bool,
) -> tuple[sft.Plan, Watcher, float]:
    """Plan, order, train; `answers`: the base has been taught to answer before."""
    settings = cast(TuneInstructions, context.settings)
    seed = context.spec.seed
    examples, batch = _rows(settings, examples, maximum_positions(tuned), seed)
    measure = Evaluator(
        tuned, tokenizer, context.spec, context.prepared, "validation"
    ).point
    lengths = [len(example.input_ids) for example in examples]
    tokens, micro_batches = _passes(context, tuned, max(lengths), ranks)
    path = context.work / "plan.json"
    begins = not path.is_file()
    plan = sft.make_plan(
        path,
        tuned,
        sft.first_batches(examples, batch=batch, seed=seed),
        settings,
        batch=batch,
        examples=len(examples),
        device=device,
        pad=tokenizer.pad_token_id,
        evaluate=measure,
        began=began,
        micro_batches=micro_batches,
        ranks=ranks,
    )
    if ranks.first and begins and not answers and not settings.steps:
        passes = sft.steps_of_passes(settings, len(examples), batch)
        note_few_steps(context, plan.steps, passes)
    order = sft.batch_order(lengths, batch=batch, steps=plan.steps, seed=seed)
    steps = [order[i : i + batch] for i in range(0, len(order), batch)]
    sizes = [
        (sum(lengths[i] for i in step), sum(examples[i].bytes for i in step))
        for step in steps
    ]
    watcher = _watch(context, plan, sizes, measure, ranks)
    pad = tokenizer.pad_token_id
    examples, order = even(examples, order, batch, ranks.size, pad)
    arguments = sft.trainer_arguments(
        context.work,
        settings,
        plan,
        batch=math.ceil(batch / ranks.size),
        longest=max(lengths),
        tokens=tokens,
        seed=seed,
        device=device,
    )
    loss = sft.train(
        tuned,
        tokenizer,
        examples,
        order,
        arguments,
        watcher,
        micro_batches,
        ranks,
        SelfCorrection.of(settings, plan.steps),
    )
    return plan, watcher, loss


def _rows(
    settings: TuneInstructions, examples: list[sft.Example], positions: int, seed: int
) -> tuple[list[sft.Example], int]:
    """The examples in rows, packed where that is wanted, and how many rows a step has."""
    batch = settings.batch_examples
    if settings.packing != "on":
        return examples, batch
    packed = pack(examples, min(settings.maximum_tokens, positions), seed)
    # As many examples a step as without packing, in fewer rows.
    return packed, max(1, round(batch * len(packed) / len(examples)))


def _watch(
    context: StageContext,
    plan: sft.Plan,
    sizes: list[tuple[int, int]],
    measure: Callable[[], dict[str, Any]],
    ranks: Ranks,
) -> Watcher:
    """Events and checkpoints of the stage; `sizes` as in Watcher."""
    return Watcher(
        stage=STAGE,
        checkpoint_minutes=cast(TuneInstructions, context.settings).checkpoint_minutes,
        plan=plan,
        sizes=sizes,
        events=context.events,
        stop=context.stop,
        evaluate=lambda step, total: context.events.write(
            "evaluation", stage=STAGE, step=step, total=total, **measure()
        ),
        run_dir=context.run_dir,
        seed=context.spec.seed,
        ranks=ranks,
    )


def _passes(
    context: StageContext, tuned: PeftModel, longest: int, ranks: Ranks
) -> tuple[int, MicroBatches]:
    """Tokens of one forward pass, and how they become fewer where memory is full."""
    settings = cast(TuneInstructions, context.settings)
    learning = [p for p in tuned.parameters() if p.requires_grad]
    tokens = forward_passes.prepare(
        tuned, settings.gradient_checkpointing, longest, learning
    )
    # Devices may differ, and all must deal the rows out alike.
    tokens = ranks.from_first(min(tokens, sft.TOKENS_AT_ONCE))
    path = context.work / "micro_batches.json"
    return tokens, MicroBatches(path, tokens, context.events, ranks)


def save_adapter(
    tuned: PeftModel, tokenizer: PreTrainedTokenizerBase, into: Path
) -> None:
    """Adapter, tokenizer and template; the config names the base beside it, not a path
    of this machine."""
    adapters.save_adapter(tuned, into)
    tokenizer.save_pretrained(into)
    path = into / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "../base"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _skip(
    context: StageContext,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> dict[str, Any]:
    """No examples: the weights as they are, with a template so that chat works."""
    merging.save_model(model, tokenizer, context.folder / "model", folder)
    reason = "there are no instructions and no translations"
    context.events.note(
        "Learning to answer was left out: no instruction or parallel data was given. "
        "The model goes on with texts; it does not follow requests.",
    )
    return {"skipped": reason}
