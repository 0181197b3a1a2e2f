from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import tiny
from training.data.packing import Packer, mixed_order
from training.data.rows import write_rows
from training.data.tokens import tokenise


def _packer(folder: Path, tokenizer, *, block: int = 64, share: float = 0.25) -> Packer:
    folder.mkdir(exist_ok=True)
    sources = []
    for role, script in (("target", "cyrillic"), ("protected", "latin")):
        rows = [{"text": text} for text in tiny.documents(30, script=script)]
        write_rows(folder / f"{role}.jsonl", rows)
        path = folder / f"{role}.jsonl"
        sources.append(tokenise(tokenizer, path, folder / role, block_tokens=block))
    return Packer(sources, (1 - share, share), 7, block, 4, start=0, end=3)


def test_blocks_hold_every_token_once_in_a_round(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    packer = _packer(tmp_path, tokenizer, share=0.0)
    file = packer.sources[0]
    seen: dict[int, int] = {}
    total = sum(file.length(p) + bool(file.last[p]) for p in range(len(file)))
    taken = 0
    for block in packer.layouts():
        assert sum(count for *_, count in block) <= packer.block_tokens
        for _, passage, first, count in block:
            assert seen.get(passage, 0) == first
            seen[passage] = first + count
            taken += count
        if taken >= total:
            break
    whole = [p for p in seen if seen[p] == file.length(p) + bool(file.last[p])]
    assert len(whole) == len(file)


def test_labels_are_the_next_tokens(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    packer = _packer(tmp_path, tokenizer)
    batch = next(packer.batches())
    begins = batch.positions == 0
    inside = (batch.documents >= 0) & ~begins
    assert torch.equal(batch.ids[inside], batch.labels.roll(1, 1)[inside])
    assert (batch.ids[begins & (batch.documents >= 0)] == packer.start).all()
    assert (batch.labels[batch.documents < 0] == -100).all()
    assert batch.tokens == int((batch.labels != -100).sum())
    assert (batch.labels == packer.end).any()


def test_replay_has_its_share_of_bytes(tmp_path: Path) -> None:
    packer = _packer(tmp_path, tiny.tokenizer(tiny.documents(30)), share=0.25)
    sizes = [source.sizes for source in packer.sources]
    given = [0, 0]
    for source, passage in islice(mixed_order(sizes, packer.shares, 1), 400):
        given[source] += int(sizes[source][passage])
    assert given[1] / sum(given) == pytest.approx(0.25, abs=0.01)


def test_every_arm_reads_the_same_text(tmp_path: Path) -> None:
    """The order of the text is the same under another tokenizer."""

    def order(folder: Path, tokenizer) -> str:
        packer = _packer(folder, tokenizer)
        sizes = [source.sizes for source in packer.sources]
        taken = list(islice(mixed_order(sizes, packer.shares, packer.seed), 300))
        return hashlib.sha256(str(taken).encode()).hexdigest()

    coarse = tiny.tokenizer(tiny.documents(30), size=500)
    fine = tiny.tokenizer(tiny.documents(30, script="latin"), size=270)
    assert order(tmp_path / "a", coarse) == order(tmp_path / "b", fine)
    sizes = [np.array([3, 4, 5, 6, 7, 8])]
    one, other = (list(islice(mixed_order(sizes, (1.0,), s), 6)) for s in (1, 2))
    assert one != other


def test_a_step_is_a_function_of_its_number(tmp_path: Path) -> None:
    packer = _packer(tmp_path, tiny.tokenizer(tiny.documents(30)))
    straight = list(islice(packer.batches(), 9))
    resumed = next(packer.batches(8))
    assert torch.equal(straight[8].ids, resumed.ids)
    assert not torch.equal(straight[7].ids, resumed.ids)


def test_text_is_never_a_special_token(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    path = tmp_path / "text.jsonl"
    write_rows(path, [{"text": "before <|endoftext|> after"}])
    file = tokenise(tokenizer, path, tmp_path / "ids", block_tokens=64)
    assert tokenizer.eos_token_id not in file.ids.tolist()
    assert tokenizer.decode(file.ids.tolist()) == "before <|endoftext|> after"


def test_what_is_only_read_carries_no_label(tmp_path: Path) -> None:
    """Inserted spans are seen by what comes after and are no one's target."""
    tokenizer = tiny.tokenizer(tiny.documents(30))
    text = "қабар (news) жол"
    rows = [{"text": text, "inserted": [[5, 12]]}]
    write_rows(tmp_path / "t.jsonl", rows)
    file = tokenise(tokenizer, tmp_path / "t.jsonl", tmp_path / "a", block_tokens=64)
    packer = Packer([file], (1.0,), 1, 64, 1, start=0, end=3)
    batch = packer.fill([next(packer.layouts())[:1]])
    here = batch.documents[0] == 0
    assert tokenizer.decode(batch.ids[0][here][1:]) == text
    labels = batch.labels[0][here]
    assert tokenizer.decode(labels[labels >= 0][:-1]) == "қабар жол"
    assert batch.tokens == int((labels >= 0).sum()) < int(here.sum())
    assert batch.bytes == pytest.approx(len("қабар жол".encode()))
    # Without the span everything is a target.
    write_rows(tmp_path / "t.jsonl", [{"text": text}])
    whole = tokenise(tokenizer, tmp_path / "t.jsonl", tmp_path / "b", block_tokens=64)
    assert tokenizer.decode(whole.ids.tolist()) == text


@pytest.mark.parametrize("cycle", [0, 5])
def test_the_same_steps_have_the_same_text(tmp_path: Path, cycle: int) -> None:
    """The first 100 batches of two arms at one seed, of one whose shares
    change on the way, and after a resumption in the middle."""
    tokenizer = tiny.tokenizer(tiny.documents(30))

    def packer(folder: str, **more: object) -> Packer:
        made = _packer(tmp_path / folder, tokenizer)
        return replace(made, cycle=cycle, stages=[(0.5, (0.2, 0.8))], **more)

    def texts(of: Packer, first: int = 0) -> list[str]:
        batches = islice(of.batches(first, 200), 100 - first)
        return [tokenizer.decode(batch.ids[batch.documents >= 0]) for batch in batches]

    one = texts(packer("a"))
    assert one == texts(packer("b"))
    assert one[60:] == texts(packer("c"), 60)
    assert one != texts(packer("d", seed=8))


def test_shares_change_on_the_way(tmp_path: Path) -> None:
    packer = _packer(tmp_path, tiny.tokenizer(tiny.documents(30)))
    packer = replace(packer, shares=(1.0, 0.0), stages=[(0.5, (0.3, 0.7))])
    given = [[0.0, 0.0], [0.0, 0.0]]
    for number, block in enumerate(islice(packer.layouts(40), 160)):
        for source, passage, _, count in block:
            file = packer.sources[source]
            part = file.sizes[passage] * count / file.length(passage)
            given[number >= 80][source] += part
    # A passage that began before the change ends after it.
    assert given[0][1] == 0
    assert given[1][1] / sum(given[1]) == pytest.approx(0.7, abs=0.05)
    # Nothing is made up for: else the second source alone would come for a while.
    sizes = [source.sizes for source in packer.sources]
    now = [(1.0, 0.0)]
    order = mixed_order(sizes, lambda: now[0], 1)
    list(islice(order, 100))
    now[0] = (0.5, 0.5)
    assert {source for source, _ in islice(order, 6)} == {0, 1}


def test_languages_of_one_file_are_sources_of_their_own(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer(tiny.documents(30))
    rows = [
        {"text": text, "language": language}
        for pair in zip(
            tiny.documents(20), tiny.documents(20, script="latin"), strict=True
        )
        for text, language in zip(pair, ("kk", "en"), strict=True)
    ]
    write_rows(tmp_path / "t.jsonl", rows)
    both = tokenise(tokenizer, tmp_path / "t.jsonl", tmp_path / "i", block_tokens=64)
    assert both.languages == ("kk", "en")
    for number, language in enumerate(both.languages):
        file = both.of(language)
        found = [tokenizer.decode(file.slice(p, 0, 10**6)) for p in range(len(file))]
        assert found == [row["text"] for row in rows[number::2]]
        assert file.ids is both.ids
