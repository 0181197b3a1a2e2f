from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.training import tiny
from training.evaluation.bits_per_byte import (
    bits_per_byte,
    cut_chunks,
    measure,
    prepare_chunks,
)

TEXTS = tiny.documents(12) + ["", "и", "é " * 300]


def _chunks(tokenizer, positions: int = 256, characters: int = 100):
    return prepare_chunks(
        tokenizer, TEXTS, start=0, chunk_characters=characters, positions=positions
    )


@pytest.mark.trap(16)
def test_uniform_logits_give_the_logarithm_of_the_vocabulary() -> None:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    model = tiny.model(384)
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    found = measure(model, _chunks(tokenizer))
    count = sum(
        len(ids)
        for ids in tokenizer(list(cut_chunks(TEXTS, 100)), add_special_tokens=False)[
            "input_ids"
        ]
    )
    text_bytes = sum(len(text.encode()) for text in TEXTS)
    assert (found.tokens, found.bytes) == (count, text_bytes)
    expected = math.log2(384) * count / text_bytes
    assert found.bits_per_byte == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_batches_and_padding_change_nothing(family: str) -> None:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    model = tiny.model(384, family=family)
    chunks = _chunks(tokenizer)
    one_by_one = measure(model, chunks, tokens_at_once=1).bits_per_byte
    for together in (100, 2_000, 100_000):
        found = measure(model, chunks, tokens_at_once=together).bits_per_byte
        assert found == pytest.approx(one_by_one, abs=1e-6)


def test_every_token_is_scored_once_in_windows() -> None:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    model = tiny.model(384)
    whole = measure(model, _chunks(tokenizer, positions=256, characters=300))
    windowed = measure(model, _chunks(tokenizer, positions=16, characters=300))
    assert windowed.tokens == whole.tokens
    windows = _chunks(tokenizer, positions=16, characters=300).windows
    assert max(len(ids) - 1 for ids, _ in windows) == 16
    assert windowed.bits_per_byte == pytest.approx(whole.bits_per_byte, rel=0.05)


def test_first_token_counts() -> None:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    model = tiny.model(384)
    chunks = prepare_chunks(
        tokenizer, ["и"], start=0, chunk_characters=10, positions=256
    )
    ids = tokenizer("и", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[0, *ids]])).logits[0].double()
    picked = logits.log_softmax(-1)[range(len(ids)), ids]
    expected = -picked.sum().item() / math.log(2) / 2
    assert measure(model, chunks).bits_per_byte == pytest.approx(expected, abs=1e-6)


@pytest.mark.trap(16)
def test_loss_and_bits_agree() -> None:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    model = tiny.model(384)
    found = measure(model, _chunks(tokenizer))
    loss = found.nats / found.tokens
    bytes_per_token = found.bytes / found.tokens
    assert abs(loss / math.log(2) / bytes_per_token - found.bits_per_byte) < 1e-3


def test_a_saved_tokenizer_gives_the_same_figure(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    model = tiny.model(384)
    one = bits_per_byte(model, tokenizer, TEXTS, start=0)
    assert bits_per_byte(model, again, TEXTS, start=0) == one
    assert bits_per_byte(model, tokenizer, TEXTS, start=1) != one
