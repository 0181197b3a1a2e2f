from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from tests.training import tiny
from training.data.dropout import Dropout
from training.data.rows import write_rows
from training.data.tokens import encode, tokenise
from training.errors import BaseUnsuitable

TEXTS = tiny.documents(40)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny.tokenizer(TEXTS, size=500)


def _pieces(ids: list[list[int]]) -> int:
    return sum(map(len, ids))


def test_without_dropout_nothing_changes(tokenizer: Any) -> None:
    assert list(Dropout(tokenizer, 0.0, 1).encode(TEXTS)) == encode(tokenizer, TEXTS)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_text_stays_and_is_cut_finer(tokenizer: Any, share: float) -> None:
    found = list(Dropout(tokenizer, share, 1).encode(TEXTS))
    assert [tokenizer.decode(ids) for ids in found] == TEXTS
    assert _pieces(found) > _pieces(encode(tokenizer, TEXTS))
    if share == 1.0:  # no merge at all: bytes
        assert _pieces(found) == sum(len(text.encode()) for text in TEXTS)


def test_the_seed_decides(tokenizer: Any) -> None:
    one, again, other = (
        list(Dropout(tokenizer, 0.1, seed).encode(TEXTS)) for seed in (1, 1, 2)
    )
    assert one == again != other


def test_it_drops_as_often_as_the_library(tokenizer: Any) -> None:
    """The library's own dropout draws from another generator: the same on average."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.model.dropout = 0.5
    # One round spreads by 1 %.
    theirs = sum(len(backend.encode(text).ids) for text in TEXTS * 6)
    ours = sum(
        _pieces(list(Dropout(tokenizer, 0.5, s).encode(TEXTS))) for s in range(6)
    )
    assert ours == pytest.approx(theirs, rel=0.03)
    other = sum(
        _pieces(list(Dropout(tokenizer, 0.4, s).encode(TEXTS))) for s in range(6)
    )
    assert other != pytest.approx(theirs, rel=0.03)


def test_no_piece_reaches_over_a_word(tokenizer: Any) -> None:
    """Merged again over a whole text, other pieces could come about."""
    known = Dropout(tokenizer, 0.1, 1)
    dice = random.Random(1)
    words = [word for text in TEXTS for word in text.split()]
    backend = tokenizer.backend_tokenizer
    for word in words[:50]:
        ids = backend.encode(f" {word}", add_special_tokens=False).ids
        assert tokenizer.decode(known.cut(ids, dice)) == f" {word}"


def test_a_tokenizer_without_merges_is_refused() -> None:
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))
    with pytest.raises(BaseUnsuitable, match="made of merges"):
        Dropout(PreTrainedTokenizerFast(tokenizer_object=unigram), 0.1, 1)


def test_real_sentencepiece_text(shared_data: Path) -> None:
    folder = shared_data / "base-models/stories260K"
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    with (shared_data / "swahili/corpus.txt").open(encoding="utf-8") as file:
        texts = file.read(5_000).splitlines()
    assert list(Dropout(tokenizer, 0.0, 1).encode(texts)) == encode(tokenizer, texts)
    found = list(Dropout(tokenizer, 0.1, 1).encode(texts))
    decoded = [tokenizer.decode(ids) for ids in found]
    assert decoded == [tokenizer.decode(ids) for ids in encode(tokenizer, texts)]
    assert _pieces(found) > _pieces(encode(tokenizer, texts))


def test_token_files_are_cut_with_dropout(tokenizer: Any, tmp_path: Path) -> None:
    write_rows(tmp_path / "t.jsonl", [{"text": text} for text in TEXTS])

    def ids(folder: str, **more: Any) -> list[int]:
        path = tmp_path / "t.jsonl"
        made = tokenise(tokenizer, path, tmp_path / folder, block_tokens=64, **more)
        return made.ids.tolist()

    dropped = ids("a", dropout=0.1, seed=1)
    assert ids("b", dropout=0.1, seed=1) == dropped
    # The same folder with other settings is written again.
    assert ids("a") != dropped
    assert ids("a", dropout=0.1, seed=1) == dropped
