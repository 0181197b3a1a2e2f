"""What a tuning learns from, and how: origins, writing, translating, variants."""

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
    SETTINGS,
    events_of,
    job,
)
from training import families, merging, templates
from training.data import romanise
from training.errors import BaseUnsuitable, SpecInvalid, TranslatorUnavailable
from training.generate import Generator
from training.spec import Merge
from training.stages import merge, tune_instructions
from training.tuning import instruction_material, sft
from training.tuning.self_writing import SelfWriter

# Whole stages with real models: not for the quick loop.
pytestmark = pytest.mark.slow

SHORT = dataclasses.replace(SETTINGS, steps=2, evaluations=1)


def with_template(context) -> None:
    """The base as an instruction-tuned one."""
    words = families.load_tokenizer(context.model)
    templates.set_up(words)
    words.save_pretrained(context.model)


def english_rows(context, count: int = 4) -> None:
    rows = [
        {"instruction": q, "output": a, "language": "en", "id": n}
        for n, (q, a) in enumerate(zip(QUESTIONS[:count], ANSWERS, strict=False))
    ]
    tiny.write_rows(context.prepared / "instructions-train.jsonl", rows)


def collected(context, settings, writer=None):
    return instruction_material.collect(context, settings, writer or no_writer)


def no_writer() -> SelfWriter:
    raise AssertionError("nothing was to be written")


def writer_of(context) -> SelfWriter:
    words = families.load_tokenizer(context.model)
    return SelfWriter(
        Generator(families.load_model(context.model), words), templates.set_up(words)
    )


def test_every_example_keeps_its_origin(tmp_path: Path):
    context = job(tmp_path, SHORT)
    rows = [{"source": "dog", "target": "ит", "languages": ["en", "kk"]}]
    tiny.write_rows(context.prepared / "dictionary-train.jsonl", rows)
    settings = dataclasses.replace(
        SHORT, dictionary_share=0.2, document_share=0.2, few_shot_share=0.5
    )
    found = collected(context, settings)
    counts = found.by_origin()
    assert counts["dictionary"] == 2 and counts["documents"] > 0
    assert counts["instructions"] == 12 and counts["texts"] == found.counts["texts"]
    assert counts["few_shot"] + counts["translations"] == found.counts["translations"]
    assert sum(counts.values()) == len(found)


def test_without_anything_asked_for_no_model_writes(tmp_path: Path):
    assert collected(job(tmp_path, SHORT), SHORT).counts["instructions"] == 12


def test_summaries_come_from_the_corpora_but_not_from_what_is_held_out(tmp_path: Path):
    context = job(tmp_path, SHORT)
    held_out = json.loads(
        (context.prepared / "target-held_out.jsonl").read_text().splitlines()[0]
    )["text"]
    text = " ".join(tiny.documents(3, script="latin", seed=5))
    rows = [
        {"text": text, "summary": "Short."},
        {"text": f"{text} {held_out}", "summary": "Held out."},
        {"text": text, "title": "A name"},
        {"text": text},  # nothing stands beside it: `prepare` has read it
    ]
    tiny.write_rows(Path(context.spec.data.target[0].path), rows)
    found = instruction_material.documents(context)
    assert {one.summary for one in found} == {"", "Short."}
    assert [one.title for one in found if one.text == text] == ["", "A name"]


def test_summaries_of_a_romanised_text_are_romanised_and_guarded(tmp_path: Path):
    """`prepare` rewrote the text and not the corpora: what is read from them again is
    written and compared as the model reads it."""
    context = job(tmp_path, SHORT)
    texts = [" ".join(tiny.documents(3, seed=seed)) for seed in (5, 6)]
    for part, held_out in {
        "train": [],
        "validation": [],
        "held_out": texts[1:],
    }.items():
        rows = [{"text": romanise.romanise(text)} for text in held_out]
        tiny.write_rows(context.prepared / f"target-{part}.jsonl", rows)
    (context.prepared / romanise.FILE).write_text("{}")
    rows = [{"text": text, "summary": "Қысқа.", "title": "Ат"} for text in texts]
    tiny.write_rows(Path(context.spec.data.target[0].path), rows)
    (found,) = instruction_material.documents(context)
    assert (found.text + found.title + found.summary).isascii()
    assert found.text == romanise.romanise(texts[0])


def test_instructions_are_translated_by_the_operators_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service
):
    context = job(tmp_path, SHORT, pairs=0)
    english_rows(context)
    settings = dataclasses.replace(SHORT, translated_rows=3, cross_lingual_share=0.3)
    with pytest.raises(TranslatorUnavailable, match="No service that writes"):
        collected(context, settings)
    monkeypatch.setenv("MOTHERTONGUE_TRANSLATOR_URL", service.url)
    found = collected(context, settings)
    counts = found.by_origin()
    assert counts["translated"] == 3 and counts["instructions"] == 4
    assert counts["cross_lingual"] == 6  # three questions, both ways
    asked = len(service.asked)
    assert asked == 6
    assert collected(context, settings).chats == found.chats
    assert len(service.asked) == asked
    assert "3 instructions were translated" in events_of(context, "note")[0]["sentence"]


def test_a_resumed_run_learns_from_as_many_translations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service
):
    """The time that was over must not come back with the second attempt."""
    context = job(tmp_path, SHORT, pairs=0)
    english_rows(context, 12)
    monkeypatch.setenv("MOTHERTONGUE_TRANSLATOR_URL", service.url)
    settings = dataclasses.replace(SHORT, translated_rows=12, generation_minutes=0.01)
    service.say = staticmethod(_slowly)
    first = collected(context, settings)
    assert first.by_origin()["translated"] == 8  # one round of eight at once
    service.say = staticmethod(lambda text: f"Jibu: {text[::-1]}")
    assert collected(context, settings).chats == first.chats


def _slowly(text: str) -> str:
    import time

    time.sleep(0.35)
    return f"Jibu: {text[::-1]}"


def test_a_model_that_nobody_taught_to_answer_writes_nothing(tmp_path: Path):
    for more in ({"backtranslated_documents": 2}, {"translated_rows": 2}):
        settings = dataclasses.replace(SHORT, translator="model", **more)
        context = job(tmp_path / next(iter(more)), settings)
        english_rows(context)
        with pytest.raises(BaseUnsuitable, match="follows instructions"):
            tune_instructions.run(context)


def test_the_model_writes_instructions_for_texts(tmp_path: Path):
    settings = dataclasses.replace(
        SHORT, backtranslated_documents=4, backtranslation_keep=1.0
    )
    context = job(tmp_path, settings, chats=0, pairs=0)
    with_template(context)
    tune_instructions.run(context)
    path = context.work / "backtranslated.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 5 and lines[-1] == {"done": True}
    assert events_of(context, "note")


def test_an_instruction_that_fits_scores_more(tmp_path: Path):
    """Against the definition: mean log-probability with the instruction less without."""
    context = job(tmp_path, SHORT)
    writer = writer_of(context)
    score = writer.helpfulness(QUESTIONS[0], ANSWERS[0])
    with_it = writer._mean_log_probability(
        [
            {"role": "user", "content": QUESTIONS[0]},
            {"role": "assistant", "content": ANSWERS[0]},
        ]
    )
    assert score == pytest.approx(
        with_it
        - writer._mean_log_probability(
            [
                {"role": "user", "content": "."},
                {"role": "assistant", "content": ANSWERS[0]},
            ]
        )
    )
    assert with_it < 0


def test_a_base_in_bfloat16_is_trained_and_read_back_as_it_is(tmp_path: Path):
    """Rotary frequencies must not be rounded with the weights: the control is."""
    context = job(tmp_path, SHORT)
    base = families.load_model(context.model)
    with torch.no_grad():
        for name, weight in base.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                weight.mul_(30)  # a random model attends to everything alike
    base.to(torch.bfloat16).save_pretrained(context.model)
    exact = families.load_model(context.model)
    rounded = families.load_model(context.model).to(torch.bfloat16).float()
    kept = merging.cast_weights(families.load_model(context.model), torch.bfloat16)
    merging.cast_weights(kept, torch.float32)
    ids = [list(range(5, 250))]
    expected = merging.measure(exact, ids).logits
    found = merging.measure(kept, ids).logits
    assert merging.largest_difference(found, expected) == 0
    control = merging.measure(rounded, ids).logits
    assert merging.largest_difference(control, expected) > 1e-4
    tune_instructions.run(context)
    after = tiny.context(
        context.spec, Merge(), tmp_path / "run", finished=context.finished
    )
    after.adapter = context.folder / "adapter"
    figures = merge.run(after)
    assert figures["dtype"] == "bfloat16" and figures["reload_difference"] < 1e-5


def test_a_second_tuning_goes_on_from_the_first(tmp_path: Path):
    first = job(tmp_path, SHORT)
    tune_instructions.run(first)
    second = tiny.context(
        first.spec, SHORT, tmp_path / "second", finished=first.finished
    )
    second.adapter = first.folder / "adapter"
    tune_instructions.run(second)
    words = AutoTokenizer.from_pretrained(first.folder / "base")
    ids = merging.encode(words, QUESTIONS[:2])
    base = AutoModelForCausalLM.from_pretrained(first.folder / "base")
    alone = merging.measure(base, ids).logits
    tuned = PeftModel.from_pretrained(base, str(first.folder / "adapter"))
    expected = merging.measure(tuned, ids).logits
    begun = AutoModelForCausalLM.from_pretrained(second.folder / "base")
    found = merging.measure(begun, ids).logits
    assert merging.largest_difference(found, expected) < 1e-5
    assert merging.largest_difference(found, alone) > 1e-3


@pytest.mark.parametrize(
    "method",
    [
        "pissa",
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("dora", "rslora", "olora")),
    ],
)
def test_variants_leave_an_adapter_of_the_base_that_was_saved(
    tmp_path: Path, method: str
):
    settings = dataclasses.replace(SHORT, method=method, lora_dropout=0.0)
    context = job(tmp_path, settings)
    kept = {}
    finish = tune_instructions.finish

    def remember(context, tuned, tokenizer, method):
        ids = merging.encode(tokenizer, QUESTIONS[:2])
        kept["ids"], kept["logits"] = ids, merging.measure(tuned, ids).logits
        finish(context, tuned, tokenizer, method)

    tune_instructions.finish = remember
    try:
        tune_instructions.run(context)
    finally:
        tune_instructions.finish = finish
    base = AutoModelForCausalLM.from_pretrained(context.folder / "base")
    again = PeftModel.from_pretrained(base, str(context.folder / "adapter"))
    found = merging.measure(again, kept["ids"]).logits
    assert merging.largest_difference(found, kept["logits"]) < 1e-4


def test_additions_to_a_rounded_base_are_merged(tmp_path: Path):
    context = job(tmp_path, dataclasses.replace(SHORT, method="loftq"))
    tune_instructions.run(context)
    assert not (context.folder / "base").exists()
    assert not (context.folder / "adapter").exists()
    words = AutoTokenizer.from_pretrained(context.folder / "model")
    model = AutoModelForCausalLM.from_pretrained(context.folder / "model")
    assert words.chat_template and not merging.special_id_differences(
        model, families.load_tokenizer(context.folder / "model")
    )


def test_a_variant_that_this_machine_has_not_is_refused(tmp_path: Path):
    try:
        import bitsandbytes  # noqa: F401
    except Exception:  # noqa: BLE001
        context = job(tmp_path, dataclasses.replace(SHORT, method="qlora"))
        with pytest.raises(SpecInvalid, match="bitsandbytes"):
            tune_instructions.run(context)


def test_the_learning_rate_warms_up_and_falls_to_nothing(tmp_path: Path):
    settings = dataclasses.replace(SETTINGS, steps=20)
    context = job(tmp_path, settings)
    tune_instructions.run(context)
    rates = [e["metrics"]["learning_rate"] for e in events_of(context, "progress")]
    assert len(rates) == 20 and max(rates) == settings.learning_rate
    assert rates[0] < max(rates) / 10 + 1e-12 or rates.index(max(rates)) <= 1
    assert rates[-1] < 0.02 * max(rates)
    falling = rates[rates.index(max(rates)) :]
    assert falling == sorted(falling, reverse=True)


def test_a_tuning_of_one_step_learns(tmp_path: Path):
    """Few examples make few steps; a warm-up would take the only one at a rate of 0."""
    context = job(tmp_path, dataclasses.replace(SETTINGS, steps=1), pairs=0)
    tune_instructions.run(context)
    tensors = load_file(context.folder / "adapter" / "adapter_model.safetensors")
    second = [t for name, t in tensors.items() if "lora_B" in name]
    assert second and all(t.abs().max() > 0 for t in second)


def test_the_loss_can_stand_on_questions_too(tmp_path: Path):
    context = job(tmp_path, SHORT)
    words = families.load_tokenizer(context.model)
    form = templates.set_up(words)
    found = collected(context, dataclasses.replace(SHORT, raw_text_share=0.0))
    answers = tune_instructions.encode(words, form, found, 512)
    whole = tune_instructions.encode(words, form, found, 512, whole=True)
    for one, other in zip(answers, whole, strict=True):
        assert one.input_ids == other.input_ids
        assert other.labels == [templates.IGNORED, *other.input_ids[1:]]
        assert sum(x >= 0 for x in one.labels) < sum(x >= 0 for x in other.labels)


def test_batches_to_measure_on_are_those_of_the_order():
    examples = [sft.Example([1] * (n + 3), [1] * (n + 3), 1) for n in range(9)]
    batches = sft.first_batches(examples, batch=4, seed=2)
    assert [len(part) for part in batches] == [4, 4, 4]
