"""Preference tuning as a stage: what is refused, left out, written, stopped, resumed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training import tiny
from tests.training.stages.test_tune_instructions import (
    ANSWERS,
    QUESTIONS,
    events_of,
    prepared_folder,
)
from training import families, merging, templates
from training.errors import BaseUnsuitable, MaterialMissing, Stopped
from training.run import check_inputs
from training.spec import Prepare, TuneInstructions
from training.stages import align_preferences, tune_instructions
from training.tuning import preferences

# Whole stages with real models: not for the quick loop.
pytestmark = pytest.mark.slow

SETTINGS = tiny.ALIGN
WORSE = tiny.documents(12, script="cyrillic", seed=9, sentences=1)
ROWS = [
    {
        "messages": [{"role": "user", "content": question}],
        "chosen": better,
        "rejected": worse,
    }
    for question, better, worse in zip(QUESTIONS, ANSWERS, WORSE, strict=True)
]


def job(folder: Path, settings=SETTINGS, *, instructed: bool = True, rows=ROWS):
    """A context of the stage over a base with a chat template, or without one."""
    base = tiny.base(folder / "base")
    if instructed:
        words = families.load_tokenizer(base)
        templates.set_up(words)
        words.save_pretrained(base)
    spec = tiny.spec(folder, [settings], base_folder=base, count=2)
    prepared = prepared_folder(folder / "prepared", chats=4, pairs=0)
    tiny.write_rows(prepared / "preferences-train.jsonl", rows[:-2])
    tiny.write_rows(prepared / "preferences-held_out.jsonl", rows[-2:])
    return tiny.context(spec, settings, folder / "run", finished={"prepare": prepared})


def test_what_is_written_and_measured(tmp_path: Path):
    context = job(tmp_path)
    figures = align_preferences.run(context)
    assert figures["pairs"] == 10 and figures["steps"] == 3
    assert figures["held_out"]["pairs"] == 2
    before, after = figures["held_out"]["before"], figures["held_out"]["after"]
    assert before["reward_margin"] == 0 and after["reward_margin"] > 0
    assert after["margin"] > before["margin"]
    assert events_of(context, "evaluation")[0]["target_bits_per_byte"] > 0
    assert [e["step"] for e in events_of(context, "progress")] == [1, 2, 3]
    config = json.loads((context.folder / "adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "../base"
    base = AutoModelForCausalLM.from_pretrained(context.folder / "base")
    given = AutoModelForCausalLM.from_pretrained(context.spec.base)
    words = AutoTokenizer.from_pretrained(context.folder / "adapter")
    ids = merging.encode(words, QUESTIONS[:2])
    plain = merging.measure(base, ids).logits
    assert merging.largest_difference(plain, merging.measure(given, ids).logits) == 0
    tuned = PeftModel.from_pretrained(base, str(context.folder / "adapter"))
    moved = merging.measure(tuned, ids).logits
    assert merging.largest_difference(moved, plain) > 1e-4


def test_it_goes_on_from_the_adapter_of_the_tuning(tmp_path: Path):
    """The reference is base and adapter together, not the base alone."""
    context = job(tmp_path, instructed=False)
    settings = TuneInstructions(
        steps=2,
        lora_rank=4,
        learning_rate=1e-2,
        batch_examples=2,
        maximum_tokens=64,
        evaluations=1,
        precision="float32",
    )
    first = tiny.context(
        context.spec, settings, tmp_path / "run", finished=context.finished
    )
    tune_instructions.run(first)
    context.adapter = first.folder / "adapter"
    context.finished["tune_instructions"] = first.folder
    align_preferences.run(context)
    one = AutoModelForCausalLM.from_pretrained(first.folder / "base")
    words = AutoTokenizer.from_pretrained(first.folder / "base")
    ids = merging.encode(words, QUESTIONS[:2])
    alone = merging.measure(one, ids).logits
    together = merging.measure(
        PeftModel.from_pretrained(one, str(context.adapter)), ids
    ).logits
    two = AutoModelForCausalLM.from_pretrained(context.folder / "base")
    found = merging.measure(two, ids).logits
    assert merging.largest_difference(found, together) < 1e-5
    assert merging.largest_difference(found, alone) > 1e-3


def test_a_base_that_nobody_taught_to_answer_is_refused(tmp_path: Path):
    context = job(tmp_path, instructed=False)
    with pytest.raises(BaseUnsuitable, match="follows instructions"):
        align_preferences.run(context)
    # A tuning that was left out taught nothing.
    context.finished["tune_instructions"] = tmp_path
    context.figures["tune_instructions"] = {"skipped": "no instructions"}
    with pytest.raises(BaseUnsuitable):
        align_preferences.run(context)


def test_without_preferences_the_job_is_refused_before_it_begins(tmp_path: Path):
    with pytest.raises(MaterialMissing, match="preferences"):
        spec = job(tmp_path).spec
        check_inputs(dataclasses.replace(spec, stages=(Prepare(), *spec.stages)))


def test_few_pairs_leave_the_model_as_it_is_unless_somebody_insists(tmp_path: Path):
    few = dataclasses.replace(SETTINGS, least_pairs=1_000)
    context = job(tmp_path, few)
    assert "10 pairs" in align_preferences.run(context)["skipped"]
    assert not list(context.folder.iterdir())
    (note,) = events_of(context, "note")
    assert note["level"] == "warning" and "1,000" in note["sentence"]
    insisting = dataclasses.replace(few, insist="yes", steps=1)
    again = tiny.context(
        context.spec, insisting, tmp_path / "again", finished=context.finished
    )
    assert align_preferences.run(again)["steps"] == 1


@pytest.mark.parametrize(
    ("rows", "longest", "error", "said"),
    [
        (ROWS[:3], 96, MaterialMissing, "needs two pairs and has 1"),
        (ROWS, 32, BaseUnsuitable, "Of 10 preferences 0 can be learned from"),
    ],
    ids=["one pair", "questions too long"],
)
def test_what_cannot_be_learned_from_is_said_as_it_is(
    tmp_path: Path, rows: list, longest: int, error: type, said: str
):
    long = " ".join(QUESTIONS)
    rows = [{**row, "messages": [{"role": "user", "content": long}]} for row in rows]
    some = dataclasses.replace(SETTINGS, insist="yes", maximum_tokens=longest)
    with pytest.raises(error, match=said):
        align_preferences.run(job(tmp_path, some, rows=rows))


@pytest.mark.parametrize(
    "method",
    ["dpo", *(pytest.param(m, marks=pytest.mark.slow) for m in ("kto", "simpo"))],
)
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, method: str
):
    settings = dataclasses.replace(SETTINGS, method=method, additions="pissa")
    whole = job(tmp_path / "one", settings)
    align_preferences.run(whole)
    parted = job(tmp_path / "two", settings)
    write = parted.events.write

    def write_and_stop(kind: str, **fields) -> None:
        write(kind, **fields)
        if kind == "progress" and fields["step"] == 1:
            parted.stop.requested = True

    parted.events.write = write_and_stop
    with pytest.raises(Stopped):
        align_preferences.run(parted)
    parted.events.write = write
    parted.stop.requested = False
    align_preferences.run(parted)
    steps = [event["step"] for event in events_of(parted, "progress")]
    assert steps == [1, 2, 3]
    one = load_file(whole.folder / "adapter" / "adapter_model.safetensors")
    two = load_file(parted.folder / "adapter" / "adapter_model.safetensors")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_where_memory_is_full_it_goes_on_from_its_checkpoint_with_smaller_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The same batch, pair by pair in the end; the steps before are not repeated."""
    settings = dataclasses.replace(SETTINGS, batch_pairs=4)
    whole = job(tmp_path / "one", settings)
    align_preferences.run(whole)
    cramped = job(tmp_path / "two", settings)
    build, taken = preferences.build_trainer, []

    def limited(*arguments, **more):
        *_, watcher = arguments
        watcher.checkpoint_minutes = 0  # one after each step
        trainer = build(*arguments, **more)
        step = trainer.training_step

        def training_step(model, inputs, *rest):
            pairs = trainer.args.per_device_train_batch_size
            taken.append((trainer.state.global_step, pairs))
            if trainer.state.global_step and pairs > 1:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return step(model, inputs, *rest)

        trainer.training_step = training_step
        return trainer

    monkeypatch.setattr(preferences, "build_trainer", limited)
    align_preferences.run(cramped)
    assert taken[:3] == [(0, 4), (1, 4), (1, 2)]
    assert taken[3:] == [(1, 1)] * 4 + [(2, 1)] * 4
    assert [e["step"] for e in events_of(cramped, "progress")] == [1, 2, 3]
    notes = [e["sentence"] for e in events_of(cramped, "note")]
    assert sum("memory was full" in sentence for sentence in notes) == 2
    one = load_file(whole.folder / "adapter" / "adapter_model.safetensors")
    two = load_file(cramped.folder / "adapter" / "adapter_model.safetensors")
    assert all(torch.allclose(one[n], two[n], atol=1e-5) for n in one)
