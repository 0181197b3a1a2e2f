"""Pruning: what goes, what stays, what can still be written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.training import tiny
from tests.training.vocabulary import bases
from training.spec import ExtendVocabulary
from training.vocabulary import extension, prune
from training.vocabulary.change import Change, unreachable

CYRILLIC = [f" {text}" for text in tiny.documents(60)]
LATIN = tiny.documents(60, script="latin")
EMOJI = "e\u0301 👩‍👩‍👧 བོད་སྐད हिंदी 𓀀 12\n\t«қ»"


def pruned(
    base: Tokenizer, *, tokens: int = 0, scripts: bool = True, **more: str
) -> Change:
    settings = ExtendVocabulary(method="prune", prune_tokens=tokens, **more)
    return prune.prune(base, lambda: LATIN, lambda: (), settings)


def with_cyrillic(kind: str) -> Tokenizer:
    """A base that knows Latin and Cyrillic pieces."""
    settings = ExtendVocabulary(new_tokens=60, minimum_occurrences=4)
    return extension.extend(bases.BASES[kind](), lambda: CYRILLIC, settings).backend


@pytest.mark.parametrize("kind", bases.BASES)
def test_pieces_of_unused_scripts_go_and_nothing_else(kind: str) -> None:
    base = with_cyrillic(kind)
    change = pruned(base)
    # Exactly what the Cyrillic text had brought is gone, steps to letters with it.
    assert set(change.backend.get_vocab()) == set(bases.BASES[kind]().get_vocab())
    assert change.figures["removed"] == change.figures["removed_by_script"] >= 60
    for text in [*LATIN, *CYRILLIC[:3], EMOJI]:
        ids = change.backend.encode(text, add_special_tokens=False).ids
        back = change.backend.decode(ids, skip_special_tokens=False)
        old = base.encode(text, add_special_tokens=False).ids
        assert back == base.decode(old, skip_special_tokens=False)
        if text in LATIN:
            assert [change.kept[id_] for id_ in ids] == old
    keeps = prune.prune(base, lambda: LATIN, lambda: CYRILLIC, ExtendVocabulary())
    assert keeps.figures["removed_by_script"] == 0
    assert pruned(base, prune_scripts="none").figures["removed"] == 0


def test_letters_stay_where_there_are_no_bytes() -> None:
    plain = json.loads(bases.sentencepiece(byte_fallback=False).to_str())
    vocabulary = plain["model"]["vocab"]
    vocabulary["қ"] = len(vocabulary)
    vocabulary["ққ"] = len(vocabulary)
    plain["model"]["merges"].append(["қ", "қ"])
    left = pruned(Tokenizer.from_str(json.dumps(plain))).backend.get_vocab()
    assert "қ" in left and "ққ" not in left


@pytest.mark.parametrize("kind", bases.BASES)
def test_the_rarest_leaves_go_first(kind: str) -> None:
    base = bases.BASES[kind]()
    for tokens in (5, 30):
        change = pruned(base, tokens=tokens)
        assert change.figures["removed"] == tokens
        assert unreachable(change.backend, _words(change.backend)) == []
    # Another text's rarest pieces would cost this one more.
    settings = ExtendVocabulary(method="prune", prune_tokens=30)
    other = prune.prune(base, lambda: ["ba. ko, ren"], lambda: (), settings)
    lengths = [
        sum(len(made.backend.encode(text).ids) for text in LATIN)
        for made in (change, other)
    ]
    assert lengths[0] < lengths[1]


def test_taking_the_rarest_pieces_that_are_no_leaves_kills_others() -> None:
    """Negative control: by count alone, whatever is made of a piece."""
    base = bases.byte_level()
    graph_free = json.loads(base.to_str())
    vocabulary = graph_free["model"]["vocab"]
    found = base.encode_batch(LATIN)
    counts = dict.fromkeys(vocabulary, 0)
    for encoding in found:
        for token in encoding.tokens:
            counts[token] += 1
    rare = sorted((p for p in _words(base) if len(p) > 1), key=counts.__getitem__)[:30]
    model = graph_free["model"]
    model["vocab"] = {p: id_ for p, id_ in vocabulary.items() if p not in rare}
    model["merges"] = [
        pair for pair in model["merges"] if not {*pair, "".join(pair)} & set(rare)
    ]
    naive = Tokenizer.from_str(json.dumps(graph_free))
    assert unreachable(naive, _words(naive))


def _words(backend: Tokenizer) -> dict[str, int]:
    names = {token.content for token in backend.get_added_tokens_decoder().values()}
    return {
        piece: id_
        for piece, id_ in backend.get_vocab().items()
        if piece not in names and not piece.startswith("<0x")
    }


def test_a_count_goes_to_the_parts() -> None:
    """ab is rare alone, but abc is made of it and counts for it once it is gone."""
    plain = json.loads(bases.sentencepiece().to_str())
    vocabulary = {name["content"]: name["id"] for name in plain["added_tokens"]}
    for piece in ("▁", "a", "b", "c", "d", "ab", "abc", "cd"):
        vocabulary[piece] = len(vocabulary)
    plain["model"].update(
        vocab=vocabulary,
        merges=[["a", "b"], ["ab", "c"], ["c", "d"]],
        byte_fallback=False,
    )
    base = Tokenizer.from_str(json.dumps(plain))
    texts = ["abc abc cd"]
    left = []
    for number in (1, 2, 3):
        settings = ExtendVocabulary(method="prune", prune_tokens=number)
        change = prune.prune(base, lambda: texts, lambda: (), settings)
        left.append({"ab", "abc", "cd"} & set(change.backend.get_vocab()))
    assert left == [{"ab", "abc"}, {"ab"}, set()]


def test_special_tokens_may_stay_or_move() -> None:
    base = bases.llama3()
    names = base.get_added_tokens_decoder()
    fixed = pruned(base, tokens=30).backend.get_added_tokens_decoder()
    assert fixed == names
    moved = pruned(base, tokens=30, special_ids="compact").backend
    assert sorted(moved.get_vocab().values()) == list(range(moved.get_vocab_size()))
    assert moved.get_vocab_size() == base.get_vocab_size() - 30
    for id_, token in moved.get_added_tokens_decoder().items():
        assert id_ in moved.encode(f"ba{token.content}ko").ids


@pytest.mark.slow
def test_mistral_without_the_scripts_of_others(shared_data: Path) -> None:
    base = bases.mistral(shared_data / "tokenizers/mistral/tokenizer.model.v1")
    texts = (shared_data / "kazakh/corpus.txt").read_text("utf-8").splitlines()
    english = (shared_data / "english/wiki.txt").read_text("utf-8").splitlines()
    settings = ExtendVocabulary(method="prune", prune_tokens=8_000)
    change = prune.prune(base, lambda: texts, lambda: english, settings)
    assert 2_000 < change.figures["removed_by_script"] < 3_000
    assert len(change.backend.get_vocab()) < 32_000 - 10_000
    dead = set(unreachable(base, _words(base)))
    assert set(unreachable(change.backend, _words(change.backend))) <= dead
    for text in [*texts[:200], *english[:5], EMOJI, "漢字 ไทย"]:
        one, other = (
            b.decode(b.encode(text).ids, skip_special_tokens=False)
            for b in (base, change.backend)
        )
        assert one == other
