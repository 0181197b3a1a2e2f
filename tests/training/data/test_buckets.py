from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import tiny
from training.data.buckets import SHORTEST, decompose, widths
from training.data.packing import Packer
from training.data.rows import write_rows
from training.data.tokens import tokenise


@given(st.integers(1, 5_000), st.integers(32, 600))
@settings(max_examples=60, deadline=None)
def test_a_document_is_cut_without_loss(targets: int, longest: int) -> None:
    pieces = list(decompose(targets, longest))
    place = 0
    for first, count, width in pieces:
        assert first == place and 0 < count <= width
        assert width == longest or width & (width - 1) == 0
        place += count
    assert place == targets
    # Only the last one has empty places, and fewer than the shortest length.
    assert all(count == width for _, count, width in pieces[:-1])
    assert pieces[-1][2] - pieces[-1][1] < 2 * SHORTEST


def test_lengths_go_down_from_the_longest() -> None:
    assert widths(100) == [100, 64, 32, 16]
    assert widths(64) == [64, 32, 16]


@pytest.fixture
def packer(tmp_path: Path) -> Packer:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    texts = [text[: 20 + 7 * n] for n, text in enumerate(tiny.documents(60))]
    write_rows(tmp_path / "t.jsonl", [{"text": text} for text in texts])
    file = tokenise(tokenizer, tmp_path / "t.jsonl", tmp_path / "i", block_tokens=64)
    return Packer([file], (1.0,), 1, 64, 4, start=0, end=3, cycle=12)


def test_short_sequences_come_first_in_each_cycle(packer: Packer) -> None:
    found = [batch.ids.shape for batch in islice(packer.batches(), 36)]
    # The same number of tokens in every batch.
    assert {rows * width for rows, width in found} == {256}
    for cycle in (found[:12], found[12:24], found[24:]):
        lengths = [width for _, width in cycle]
        assert lengths == sorted(lengths) and len(set(lengths)) > 1
    # Blocks have one length only.
    blocks = replace(packer, cycle=0)
    assert {batch.ids.shape for batch in islice(blocks.batches(), 12)} == {(4, 64)}


def test_a_row_holds_one_document(packer: Packer) -> None:
    for batch in islice(packer.batches(), 24):
        assert set(batch.documents.unique().tolist()) <= {0, -1}
        assert (batch.ids[:, 0] == packer.start).all()
        inputs = batch.inputs(torch.device("cpu"), "sdpa")
        assert inputs["attention_mask"] is None
    # In blocks they stand side by side.
    blocks = replace(packer, cycle=0)
    assert max(int(b.documents.max()) for b in islice(blocks.batches(), 4)) > 0


def test_every_token_is_learned_once_in_a_round(packer: Packer) -> None:
    """What waits for its batch comes later; nothing comes twice before that."""
    packer = replace(packer, cycle=1, batch_blocks=1)
    file = packer.sources[0]
    seen: set[tuple[int, int]] = set()
    total = sum(file.length(p) + bool(file.last[p]) for p in range(len(file)))
    for _, rows in packer.bucketed():
        for _, passage, first, count in (piece for row in rows for piece in row):
            places = {(passage, place) for place in range(first, first + count)}
            if places & seen:  # the next round has begun
                assert len(seen) > 0.8 * total
                return
            seen |= places


def test_a_step_is_a_function_of_its_number(packer: Packer) -> None:
    straight = list(islice(packer.batches(), 20))
    for step in (7, 15):
        assert torch.equal(straight[step].ids, next(packer.batches(step)).ids)
