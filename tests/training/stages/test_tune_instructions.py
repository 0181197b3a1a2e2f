"""Instruction tuning: what is written, stopped, resumed, refused."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training import tiny
from training import adapters, families, manifest, merging, templates
from training.errors import BaseUnsuitable, Diverged, OutOfMemory, Stopped
from training.evaluation.evaluator import Evaluator
from training.events import EventWriter, read_events
from training.micro_batches import MicroBatches
from training.spec import Merge, TuneInstructions
from training.stages import merge, tune_instructions
from training.tuning import sft

SETTINGS = tiny.TUNE
QUESTIONS = tiny.documents(12, script="latin", seed=7, sentences=1)
ANSWERS = tiny.documents(12, script="latin", seed=8, sentences=1)


def prepared_folder(folder: Path, *, chats: int = 12, pairs: int = 6) -> Path:
    """What `prepare` leaves."""
    folder.mkdir(parents=True)
    latin = tiny.documents(12, script="latin", seed=3)
    for role in ("target", "protected"):
        for part in ("train", "validation", "held_out"):
            rows = [{"text": text} for text in latin[: 8 if part == "train" else 1]]
            tiny.write_rows(folder / f"{role}-{part}.jsonl", rows)
    if chats:
        rows = [
            {"instruction": question, "output": answer}
            for question, answer in zip(QUESTIONS[:chats], ANSWERS, strict=False)
        ]
        tiny.write_rows(folder / "instructions-train.jsonl", rows)
    if pairs:
        rows = [
            {"source": one, "target": other, "languages": ["en", "kk"]}
            for one, other in zip(QUESTIONS[:pairs], ANSWERS, strict=False)
        ]
        tiny.write_rows(folder / "parallel-train.jsonl", rows)
    return folder


def job(folder: Path, settings: TuneInstructions = SETTINGS, **made: int):
    """A context of the stage over a small random base."""
    base = tiny.base(folder / "base")
    spec = tiny.spec(folder, [settings], base_folder=base, count=2)
    prepared = prepared_folder(folder / "prepared", **made)
    return tiny.context(spec, settings, folder / "run", finished={"prepare": prepared})


def events_of(context, kind: str):
    events, _ = read_events(context.run_dir / "events.jsonl")
    return [event for event in events if event["kind"] == kind]


@pytest.mark.slow
def test_tune_and_merge(tmp_path: Path):
    context = job(tmp_path)
    figures = tune_instructions.run(context)
    assert figures["steps"] == 4 and figures["instructions"] == 12
    assert figures["translations"] > 0 and figures["texts"] > 0
    points = events_of(context, "evaluation")
    assert [point["step"] for point in points] == [2, 4]
    assert points[0]["target_bits_per_byte"] > 0 and points[0]["samples"]
    progress = events_of(context, "progress")
    assert [event["step"] for event in progress] == [1, 2, 3, 4]
    assert progress[0]["metrics"]["tokens_per_second"] > 0
    # The adapter loads on the base beside it, with no path of this machine in it.
    adapter = context.folder / "adapter"
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "../base"
    base = AutoModelForCausalLM.from_pretrained(context.folder / "base")
    tuned = PeftModel.from_pretrained(base, str(adapter)).eval()
    words = AutoTokenizer.from_pretrained(adapter)
    ids = merging.encode(words, QUESTIONS[:3])
    expected = merging.measure(tuned, ids)

    context.adapter = adapter
    after = tiny.context(
        context.spec,
        Merge(),
        tmp_path / "run",
        finished=context.finished,
    )
    after.adapter = adapter
    merged = merge.run(after)
    assert merged["largest_logit_difference"] < 1e-5
    loaded = AutoModelForCausalLM.from_pretrained(after.folder / "model").eval()
    found = merging.measure(loaded, ids)
    assert merging.largest_difference(expected.logits, found.logits) < 1e-5
    assert (after.folder / "adapter" / "adapter_model.safetensors").is_file()
    assert (after.folder / "base" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_new_markers_come_with_a_base_that_the_adapter_fits(tmp_path: Path, tied: bool):
    """A base whose vocabulary has no chat markers, and no row to spare for them."""
    context = job(tmp_path, pairs=0)
    path = context.model / "tokenizer.json"
    text = path.read_text().replace("<|im_start|>", "unused a")
    path.write_text(text.replace("<|im_end|>", "unused b"))
    words = AutoTokenizer.from_pretrained(context.model)
    old_rows = len(words)
    tiny.model(old_rows, tied=tied).save_pretrained(context.model)
    figures = tune_instructions.run(context)
    assert figures["new_markers"] == 2
    adapter = context.folder / "adapter"
    after = tiny.context(
        context.spec, Merge(), tmp_path / "run", finished=context.finished
    )
    after.adapter = adapter
    merge.run(after)
    again = AutoTokenizer.from_pretrained(after.folder / "model")
    base = AutoModelForCausalLM.from_pretrained(context.folder / "base")
    loaded = AutoModelForCausalLM.from_pretrained(after.folder / "model")
    markers = again.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert markers == [old_rows, old_rows + 1]
    for get in ("get_input_embeddings", "get_output_embeddings"):
        before, now = getattr(base, get)().weight, getattr(loaded, get)().weight
        assert before.shape == now.shape and len(now) % 64 == 0
        assert (before[markers] - now[markers]).abs().max() > 1e-4
        assert torch.equal(before[:old_rows], now[:old_rows])
    assert merging.is_tied(loaded) is tied


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(tmp_path: Path):
    whole = job(tmp_path / "one")
    tune_instructions.run(whole)

    parted = job(tmp_path / "two")
    write = parted.events.write

    def write_and_stop(kind: str, **fields) -> None:
        write(kind, **fields)
        if kind == "progress" and fields["step"] == 1:
            parted.stop.requested = True

    parted.events.write = write_and_stop
    with pytest.raises(Stopped):
        tune_instructions.run(parted)
    saved = events_of(parted, "checkpoint")
    assert [event["step"] for event in saved] == [2]
    folder = parted.run_dir / saved[0]["path"]
    assert manifest.is_whole(folder)
    assert not (folder / "training_args.bin").exists()
    parted.events.write = write
    parted.stop.requested = False
    tune_instructions.run(parted)
    steps = [event["step"] for event in events_of(parted, "progress")]
    assert steps == [1, 2, 3, 4]
    one = load_file(whole.folder / "adapter" / "adapter_model.safetensors")
    two = load_file(parted.folder / "adapter" / "adapter_model.safetensors")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_loss_that_is_no_number_ends_the_stage(tmp_path: Path):
    context = job(tmp_path)
    path = context.model / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if "down_proj" in name)
    weights[name][:] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(Diverged):
        tune_instructions.run(context)


def test_without_anything_to_answer_the_model_gets_a_template(tmp_path: Path):
    context = job(tmp_path, chats=0, pairs=0)
    figures = tune_instructions.run(context)
    assert "instructions" in figures["skipped"]
    words = AutoTokenizer.from_pretrained(context.folder / "model")
    assert "<|im_start|>" in words.chat_template
    one = load_file(context.model / "model.safetensors")
    two = load_file(context.folder / "model" / "model.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert events_of(context, "note")


def test_the_order_of_batches(tmp_path: Path):
    lengths = [7 + (i * 37) % 50 for i in range(103)]
    order = sft.batch_order(lengths, batch=8, steps=26, seed=3)
    assert order == sft.batch_order(lengths, batch=8, steps=26, seed=3)
    assert order[:80] == sft.batch_order(lengths, batch=8, steps=10, seed=3)
    assert order != sft.batch_order(lengths, batch=8, steps=26, seed=4)
    assert sorted(order[:103]) == list(range(103))
    batches = [[lengths[i] for i in order[s : s + 8]] for s in range(0, 96, 8)]
    assert max(max(batch) - min(batch) for batch in batches) < 12


@pytest.mark.parametrize(
    ("batch", "longest", "expected"), [(16, 512, 16), (16, 2048, 4), (6, 9000, 1)]
)
def test_micro_batches_divide_the_batch(batch: int, longest: int, expected: int):
    assert sft.micro_batch(batch, longest) == expected


def test_labels_stand_where_they_are_predicted():
    labels = torch.tensor([[-100, -100, 5, 6], [-100, -100, -100, 7]])
    assert sft._following(labels).tolist() == [
        [-100, 5, 6, -100],
        [-100, -100, 7, -100],
    ]


class Small:
    """A body that has no memory for more than `rows` examples at once."""

    def __init__(self, rows: int) -> None:
        self.rows, self.refused = rows, 0

    def __call__(self, module, arguments, values):
        if torch.is_grad_enabled() and len(values["input_ids"]) > self.rows:
            self.refused += 1
            raise torch.OutOfMemoryError("out of memory")


@pytest.mark.slow
def test_a_full_memory_takes_smaller_parts_of_the_same_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    attach, body = tune_instructions.attach, Small(1)

    def small(*arguments):
        tuned = attach(*arguments)
        inner = tuned.get_base_model().base_model
        inner.register_forward_pre_hook(body, with_kwargs=True)
        return tuned

    settings = dataclasses.replace(SETTINGS, lora_dropout=0.0)
    plain = job(tmp_path / "plain", settings)
    tune_instructions.run(plain)
    monkeypatch.setattr(tune_instructions, "attach", small)
    context = job(tmp_path / "small", settings)
    tune_instructions.run(context)
    assert body.refused
    notes = [event["sentence"] for event in events_of(context, "note")]
    assert any("memory was full" in note for note in notes)
    there, here = (
        load_file(c.folder / "adapter" / "adapter_model.safetensors")
        for c in (plain, context)
    )
    for name, value in there.items():
        torch.testing.assert_close(here[name], value, rtol=1e-3, atol=1e-5)
    body.rows = 0
    with pytest.raises(OutOfMemory, match="one row"):
        tune_instructions.run(job(tmp_path / "smaller", settings))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "family",
    [
        "llama",
        *(
            pytest.param(family, marks=pytest.mark.slow)
            for family in ("mistral", "qwen2", "gemma", "gpt2", "gpt_neox")
        ),
    ],
)
def test_the_loss_of_a_padded_batch_is_that_of_its_examples(
    tmp_path: Path, family: str, tied: bool
):
    """The trainer's loss against one example at a time, summed over labels by hand."""
    words = tiny.tokenizer(tiny.documents(60, script="latin"))
    form = templates.set_up(words)
    model = tiny.model(len(words), family=family, tied=tied)
    settings = dataclasses.replace(SETTINGS, lora_dropout=0.0)
    additions = adapters.Additions.of(settings, form.markers)
    tuned = adapters.attach(model, additions, stage="tune_instructions")
    chats = [
        [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        for question, answer in zip(QUESTIONS[:3], ANSWERS, strict=False)
    ]
    examples = [
        sft.Example(*templates.encode_chat(words, chat, form), 1) for chat in chats
    ]
    nats, labels = 0.0, 0
    for example in examples:
        logits = tuned(input_ids=torch.tensor([example.input_ids])).logits[0, :-1]
        following = torch.tensor(example.labels[1:])
        summed = torch.nn.functional.cross_entropy(logits, following, reduction="sum")
        nats += summed.item()
        labels += int((following >= 0).sum())
    plan = sft.Plan(1, 1, "float32", 0.1, 3)
    arguments = sft.trainer_arguments(
        tmp_path,
        settings,
        plan,
        batch=settings.batch_examples,
        longest=64,
        tokens=8_192,
        seed=1,
        device=torch.device("cpu"),
    )
    trainer = sft.AnswerTrainer(
        model=tuned,
        args=arguments,
        train_dataset=sft.rows_of(examples),
        processing_class=words,
        micro_batches=MicroBatches(
            tmp_path / "sizes.json", 8_192, EventWriter(tmp_path / "events.jsonl")
        ),
    )
    batch = trainer.data_collator([dataclasses.asdict(e) for e in examples])
    assert (batch["input_ids"] == words.pad_token_id).any()
    loss = trainer.compute_loss(trainer.model, batch)
    assert loss.item() == pytest.approx(nats / labels, abs=1e-5)
    loss.backward()
    trained = [name for name, p in tuned.named_parameters() if p.requires_grad]
    assert sum("trainable_tokens_delta" in name for name in trained) == 2 - tied
    rows = dict(tuned.named_parameters())
    for name in trained:
        if "trainable_tokens_delta" in name:
            assert rows[name].grad.abs().sum() > 0


def test_a_large_vocabulary_makes_the_parts_of_a_batch_smaller():
    """Qwen's 152,000 rows: 16 examples of 512 tokens are 5 GB of logits."""
    assert sft.micro_batch(16, 512) == 16
    assert sft.micro_batch(16, 512, rows=151_936) == 1
    assert sft.micro_batch(16, 512, rows=151_936, device="cuda") == 8


@pytest.mark.slow
def test_examples_are_no_longer_than_the_model_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = dataclasses.replace(SETTINGS, maximum_tokens=512)
    context = job(tmp_path, settings)
    base = Path(context.spec.base)
    small = tiny.model(len(families.load_tokenizer(base)), family="gpt2", positions=32)
    small.save_pretrained(base)
    assert tune_instructions.run(context)["steps"] == 4
    monkeypatch.setattr(tune_instructions, "maximum_positions", lambda model: 512)
    context = tiny.context(
        context.spec, settings, tmp_path / "control", finished=context.finished
    )
    with pytest.raises(IndexError):
        tune_instructions.run(context)


def test_questions_that_fill_every_example_are_said_with_what_to_do(tmp_path: Path):
    """Neither the template alone is to blame, nor another base all that helps."""
    settings = dataclasses.replace(
        SETTINGS, maximum_tokens=32, raw_text_share=0.0, translation_share=0.0
    )
    context = job(tmp_path, settings, chats=0, pairs=0)
    row = {"instruction": " ".join(QUESTIONS), "output": "x"}
    path = context.finished["prepare"] / "instructions-train.jsonl"
    tiny.write_rows(path, [row])
    with pytest.raises(
        BaseUnsuitable, match=r"fills the longest example \(32 tok"
    ) as e:
        tune_instructions.run(context)
    assert "Longest example" in e.value.hint


@pytest.mark.parametrize(
    ("steps", "passes", "times"),
    [(105, 300, "2"), (10, 300, "20"), (199, 300, "2"), (200, 300, ""), (40, 40, "")],
)
def test_too_few_steps_to_learn_to_answer_are_said(
    tmp_path: Path, steps: int, passes: int, times: str
):
    context = job(tmp_path, SETTINGS)
    tune_instructions.note_few_steps(context, steps, passes)
    said = [note["sentence"] for note in events_of(context, "note")]
    assert len(said) == bool(times)
    assert not times or f"about {times} times the minutes" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("answers", [False, True])
def test_too_little_time_is_said_before_the_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
):
    settings = dataclasses.replace(SETTINGS, steps=0, minutes=0.05, epochs=1_000.0)
    context = job(tmp_path, settings)
    if answers:
        base = Path(context.spec.base)
        tokenizer = families.load_tokenizer(base)
        tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
        tokenizer.save_pretrained(base)
    monkeypatch.setattr(tune_instructions, "STEPS_TO_ANSWER", 10**6)
    tune_instructions.run(context)
    notes = [note["sentence"] for note in events_of(context, "note")]
    said = [note for note in notes if "steps of learning to answer" in note]
    assert len(said) == (not answers), notes


@pytest.mark.slow
def test_costly_evaluations_become_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = dataclasses.replace(SETTINGS, steps=0, minutes=0.05, evaluations=9)
    context = job(tmp_path, settings)
    bits = Evaluator.bits_per_byte

    def slow(evaluator: Evaluator) -> dict[str, float | None]:
        time.sleep(0.4)
        return bits(evaluator)

    monkeypatch.setattr(Evaluator, "bits_per_byte", slow)
    tune_instructions.run(context)
    plan = json.loads((context.work / "plan.json").read_text())
    assert 1 <= plan["evaluations"] <= 2
    assert len(events_of(context, "evaluation")) == plan["evaluations"]
