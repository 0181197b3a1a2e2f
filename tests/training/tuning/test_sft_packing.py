"""Packed examples: nothing lost, nobody sees another, the loss is that of each alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from tests.training.stages.test_tune_instructions import SETTINGS, events_of, job
from training import templates
from training.stages import tune_instructions
from training.tuning.sft import Example, _row
from training.tuning.sft_packing import PackingCollator, pack

# Whole stages with real models: not for the quick loop.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    words = tiny.tokenizer(tiny.documents(60, script="latin"))
    form = templates.set_up(words)
    texts = tiny.documents(9, script="latin", seed=4, sentences=1)
    return [
        Example(
            *templates.encode_chat(
                words,
                [
                    {"role": "user", "content": text},
                    {"role": "assistant", "content": text[: 10 + 4 * n]},
                ],
                form,
            ),
            len(text),
        )
        for n, text in enumerate(texts)
    ]


def test_the_first_token_of_an_example_is_not_predicted_from_the_one_before() -> None:
    """Plain text has a label on its first token, and in a row another text before it."""
    texts = [Example([n, n + 1, n + 2], [n, n + 1, n + 2], 3) for n in (10, 20)]
    (row,) = pack(texts, 6, seed=1)
    assert row.documents == [0, 0, 0, 1, 1, 1]
    assert [row.labels[0], row.labels[3]] == [-100, -100]
    assert row.labels[1:3] == row.input_ids[1:3]


def test_every_token_is_in_one_row_and_no_row_is_too_long(examples):
    packed = pack(examples, 120, seed=1)
    assert len(packed) < len(examples)
    assert packed == pack(examples, 120, 1) and packed != pack(examples, 120, 2)
    found = []
    for row in packed:
        assert len(row.input_ids) == len(row.labels) == len(row.documents) <= 120
        for number in range(max(row.documents) + 1):
            found.append(
                [
                    t
                    for t, d in zip(row.input_ids, row.documents, strict=True)
                    if d == number
                ]
            )
    assert sorted(found) == sorted(e.input_ids for e in examples)
    assert sum(row.bytes for row in packed) == sum(e.bytes for e in examples)
    count = sum(sum(x >= 0 for x in e.labels) for e in examples)
    assert sum(sum(x >= 0 for x in row.labels) for row in packed) == count


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_loss_is_that_of_each_example_alone(examples, family: str):
    model = tiny.model(320, family=family)
    nats = 0.0
    with torch.no_grad():
        for e in examples:
            logits = model(input_ids=torch.tensor([e.input_ids])).logits[0, :-1]
            nats += torch.nn.functional.cross_entropy(
                logits, torch.tensor(e.labels[1:]), reduction="sum"
            ).item()
        batch = PackingCollator(1, model.config)(
            [_row(row) for row in pack(examples, 150, seed=1)]
        )
        labels = batch.pop("labels")

        def loss(**inputs) -> float:
            logits = model(**inputs).logits[:, :-1]
            return torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum"
            ).item()

        assert loss(**batch) == pytest.approx(nats, rel=1e-5)
        # Without the mask examples see each other: then it is another number.
        batch["attention_mask"] = (labels > -200).long()
        assert abs(loss(**batch) - nats) > 1e-2


def test_a_packed_tuning(tmp_path: Path):
    settings = dataclasses.replace(SETTINGS, packing="on", maximum_tokens=256, steps=3)
    context = job(tmp_path, settings)
    figures = tune_instructions.run(context)
    assert figures["steps"] == 3 and figures["examples"] > 12
    losses = [e["metrics"]["loss"] for e in events_of(context, "progress")]
    assert losses[-1] < losses[0]
