"""Prefer the better of two answers, after the model has learned to answer.

Reads the preferences that `prepare` divided and the model of the stages before; an
adapter among them is put into the weights, which are then the reference. Writes

    base/       that model with tokenizer and chat template
    adapter/    the additions; they belong to base/ and to no other folder

A base that nobody taught to answer is refused. With fewer pairs than `least_pairs` the
stage is left out unless the settings insist, and what the stages before made stays.
Figures: how much the better answers are preferred on held-out pairs, before and after
(training/tuning/preferences.py, margins), and bits per byte.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file, save_file

from training import (
    adapters,
    compute,
    freed_memory,
    halved_passes,
    merging,
    templates,
)
from training.data.preferences import PairIds, Preference, encode_pair, preferences_of
from training.data.rows import read_rows
from training.errors import BaseUnsuitable, MaterialMissing, Stopped
from training.evaluation.bits_per_byte import maximum_positions
from training.evaluation.evaluator import Evaluator
from training.ranks import ALONE, Ranks, start
from training.spec import AlignPreferences, shape_of, tokens_at_once
from training.stages.tune_instructions import prepare_chat, save_adapter
from training.tuning import preferences, sft
from training.tuning.preferences import Likelihoods
from training.tuning.self_writing import require_instructed
from training.tuning.starting import load_start
from training.tuning.watcher import Watcher

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from training.run import StageContext

STAGE = "align_preferences"
# Measured before and after; more say hardly more and take their time.
MOST_HELD_OUT = 200


def run(context: StageContext) -> dict[str, Any]:
    """Tune on preferences, in this process or in several that it starts; returns figures.
    Raises BaseUnsuitable, Stopped, Diverged, ProcessDied."""
    settings = cast(AlignPreferences, context.settings)
    require_instructed(context, "Preference tuning")
    pairs, unreadable = _read(context, "train")
    note_unreadable(context, unreadable)
    if len(pairs) < settings.least_pairs and settings.insist == "no":
        return _skip(context, len(pairs), settings.least_pairs)
    return start.learn(context, train)


def train(context: StageContext, ranks: Ranks) -> dict[str, Any]:
    """The work of one process; all but the first of several return no figures."""
    began = time.monotonic()
    settings = cast(AlignPreferences, context.settings)
    pairs, unreadable = _read(context, "train")
    held_out, _ = _read(context, "held_out")
    device = compute.prepare_device(context.spec.device)
    compute.seed_everything(context.spec.seed)
    model, tokenizer, stored, folder = load_start(context)
    form = prepare_chat(model, tokenizer)
    longest = min(settings.maximum_tokens, maximum_positions(model))
    learned = encode(tokenizer, pairs, form, longest)
    measured = encode(tokenizer, held_out[:MOST_HELD_OUT], form, longest)
    refuse_too_few(pairs, learned)
    merging.cast_weights(model, stored)
    if ranks.first:
        merging.save_model(model, tokenizer, context.folder / "base", folder)
    model = merging.cast_weights(model, torch.float32).to(device)
    model.name_or_path = str(context.folder / "base")
    additions = adapters.Additions(
        settings.additions, settings.lora_rank, settings.lora_alpha
    )
    begun = context.work / "start.safetensors"
    with ranks.first_before_others():
        tuned = adapters.attach(model, additions, stage=STAGE, start=begun)
    with compute.memory_errors("The device ran out of memory on the preferences."):
        plan, watcher, figures = tune(
            context, tuned, tokenizer, learned, measured, began, ranks
        )
    if watcher.stopped:
        raise Stopped
    if not ranks.first:
        return {}
    save_adapter(tuned, tokenizer, context.folder / "adapter")
    return {
        "method": settings.method,
        "pairs": len(pairs),
        "unreadable": unreadable,
        "left_out": len(pairs) - len(learned),
        "steps": plan.steps,
        "passes": round(plan.steps * settings.batch_pairs / len(learned), 2),
        "precision": plan.precision,
        "seconds_per_step": round(plan.seconds_per_step, 4),
        **figures,
    }


def _read(context: StageContext, part: str) -> tuple[list[Preference], int]:
    path = context.prepared / f"preferences-{part}.jsonl"
    return preferences_of(read_rows(path)) if path.is_file() else ([], 0)


def refuse_too_few(pairs: list[Preference], learned: list[PairIds]) -> None:
    """Raise MaterialMissing or BaseUnsuitable where less than two pairs can be learned
    from: kto compares each with another."""
    if len(pairs) < 2:
        raise MaterialMissing(
            f"Preference tuning needs two pairs and has {len(pairs)} to learn from.",
            hint="Add more preferences: a question with a better and a worse answer.",
        )
    if len(learned) < 2:
        raise BaseUnsuitable(
            f"Of {len(pairs)} preferences {len(learned)} can be learned from: the chat "
            "template does not take the others, or their questions fill the longest "
            "example.",
            hint="Set “Longest question with an answer” higher, or choose another base "
            "model.",
        )


def note_unreadable(context: StageContext, count: int) -> None:
    """Say how many rows taught nothing."""
    if count:
        context.events.note(
            f"{count} preferences were left out: they hold no question with two "
            "different answers.",
            level="warning",
        )


def _skip(context: StageContext, pairs: int, least: int) -> dict[str, Any]:
    """Too few pairs: what the stages before made stays as it is."""
    context.events.note(
        f"Preference tuning was left out: {pairs:,} pairs are fewer than {least:,}. "
        "With so few, instruction tuning on the better answers does more: upload them "
        "as instructions, or set “Go on with fewer pairs” to yes.",
        level="warning",
    )
    return {"skipped": f"{pairs} pairs are fewer than {least}", "pairs": pairs}


def encode(
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[Preference],
    form: templates.ChatFormat,
    longest: int,
) -> list[PairIds]:
    """Ids of the pairs that the template takes and that fit."""
    found = (encode_pair(tokenizer, pair, form, longest) for pair in pairs)
    return [ids for ids in found if ids is not None]


def tune(
    context: StageContext,
    tuned: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    learned: list[PairIds],
    measured: list[PairIds],
    began: float,
    ranks: Ranks,
) -> tuple[sft.Plan, Watcher, dict[str, Any]]:
    """Reference, plan, training, figures."""
    settings = cast(AlignPreferences, context.settings)
    pad, seed = tokenizer.pad_token_id, context.spec.seed
    measure = Evaluator(
        tuned, tokenizer, context.spec, context.prepared, "validation"
    ).point
    with ranks.first_before_others():
        reference = before_training(context, tuned, learned, measured, pad)
    freed_memory.give_back()
    lengths = [pair.length for pair in learned]
    tokens = tokens_of_a_pass(context, tuned, max(lengths), ranks)
    plan = sft.make_plan(
        context.work / "plan.json",
        tuned,
        sft.first_batches(as_examples(learned), batch=2 * settings.batch_pairs, seed=1),
        settings,
        batch=settings.batch_pairs,
        examples=len(learned),
        device=next(tuned.parameters()).device,
        pad=pad,
        evaluate=measure,
        began=began,
        tokens=tokens,
        ranks=ranks,
    )
    # The passes that are learned from are smaller, and would lie beside what is free.
    freed_memory.give_back()
    order = sft.batch_order(
        lengths, batch=settings.batch_pairs, steps=plan.steps, seed=seed
    )
    watcher = watch(context, plan, learned, order, measure, ranks)
    trainer = make_trainer(
        context, tuned, tokenizer, learned, order, reference, plan, watcher, tokens
    )
    loss = preferences.train(trainer, ranks)
    figures: dict[str, Any] = {"mean_loss": round(loss, 4)}
    if not watcher.stopped and measured and ranks.first:
        before = reference["measured"]
        now = preferences.likelihoods(tuned, measured, pad=pad)
        figures["held_out"] = {
            "pairs": len(measured),
            "before": preferences.margins(before, before, settings),
            "after": preferences.margins(now, before, settings),
        }
    return plan, watcher, figures


def tokens_of_a_pass(
    context: StageContext, tuned: PeftModel, longest: int, ranks: Ranks
) -> int:
    """Tokens that a forward pass takes; on a GPU layers are computed twice
    (sft.trainer_values). `longest` in tokens: a pair is two such rows."""
    settings = cast(AlignPreferences, context.settings)
    device = next(tuned.parameters()).device.type
    shape = shape_of(tuned.config.get_text_config().to_dict())
    tokens = tokens_at_once(shape, 2 * longest, device, checkpointing=device == "cuda")
    pairs = preferences.at_once(
        settings.batch_pairs // ranks.size,
        longest,
        sft.vocabulary_rows(tuned),
        device,
        tokens,
    )
    return 2 * longest * halved_passes.rows(context.work, pairs, first=ranks.first)


def make_trainer(
    context: StageContext,
    tuned: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    learned: list[PairIds],
    order: list[int],
    reference: dict[str, Likelihoods],
    plan: sft.Plan,
    watcher: Watcher,
    tokens: int,
) -> Any:
    """The method's trainer over the pairs in order; a forward pass takes so many
    `tokens`."""
    settings = cast(AlignPreferences, context.settings)
    device = next(tuned.parameters()).device
    longest = max(pair.length for pair in learned)
    batch = settings.batch_pairs // watcher.ranks.size
    values = sft.trainer_values(
        context.work,
        plan,
        batch=batch,
        at_once=preferences.at_once(
            batch, longest, sft.vocabulary_rows(tuned), device.type, tokens
        ),
        learning_rate=settings.learning_rate,
        seed=context.spec.seed,
        device=device,
    )
    rows = preferences.rows_of(
        settings.method,
        learned,
        order,
        reference.get("learned"),
        reference.get("mismatched"),
    )
    arguments = sft.one_device(preferences.configuration(settings, values))
    return preferences.build_trainer(
        tuned, tokenizer, rows, settings, arguments, watcher
    )


def before_training(
    context: StageContext,
    tuned: PeftModel,
    learned: list[PairIds],
    measured: list[PairIds],
    pad: int,
) -> dict[str, Likelihoods]:
    """What the model says before the first step, by name; kept in the work folder so
    that it is computed once."""
    path = context.work / "reference.safetensors"
    method = cast(AlignPreferences, context.settings).method
    wanted = {"measured": measured}
    if method in preferences.WITH_REFERENCE:
        wanted["learned"] = learned
    if method == "kto":
        wanted["mismatched"] = preferences.mismatched_pairs(learned)
    if not path.is_file():
        found: dict[str, torch.Tensor] = {}
        for name, pairs in wanted.items():
            if pairs:
                one = preferences.likelihoods(tuned, pairs, pad=pad)
                found |= {f"{name}.sums": one.sums, f"{name}.tokens": one.tokens}
        part = path.with_name(path.name + ".part")
        save_file(found, part)
        part.replace(path)
    stored = load_file(path)
    return {
        name: Likelihoods(stored[f"{name}.sums"], stored[f"{name}.tokens"])
        for name in wanted
        if f"{name}.sums" in stored
    }


def as_examples(pairs: list[PairIds]) -> list[sft.Example]:
    """Both answers of every pair, to measure the speed of a step on."""
    return [
        sft.Example(
            pair.prompt + answer, [templates.IGNORED] * len(pair.prompt) + answer, 0
        )
        for pair in pairs
        for answer in (pair.chosen, pair.rejected)
    ]


def watch(
    context: StageContext,
    plan: sft.Plan,
    learned: list[PairIds],
    order: list[int],
    measure: Any,
    ranks: Ranks = ALONE,
) -> Watcher:
    """Events and checkpoints of the stage."""
    settings = cast(AlignPreferences, context.settings)
    batch = settings.batch_pairs
    steps = [order[i : i + batch] for i in range(0, len(order), batch)]
    return Watcher(
        stage=STAGE,
        checkpoint_minutes=settings.checkpoint_minutes,
        plan=plan,
        sizes=[
            (
                sum(2 * learned[i].length for i in step),
                sum(learned[i].bytes for i in step),
            )
            for step in steps
        ],
        events=context.events,
        stop=context.stop,
        evaluate=lambda step, total: context.events.write(
            "evaluation", stage=STAGE, step=step, total=total, **measure()
        ),
        run_dir=Path(context.run_dir),
        seed=context.spec.seed,
        ranks=ranks,
    )
