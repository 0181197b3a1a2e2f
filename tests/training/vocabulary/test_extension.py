"""What must hold for every extended tokenizer, whatever the base and the script."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.training import tiny
from tests.training.vocabulary import bases
from training.errors import BaseUnsuitable, ScriptUnreadable
from training.spec import ExtendVocabulary
from training.vocabulary import counting, extension, pre_tokenizer
from training.vocabulary.change import unreachable
from training.vocabulary.pieces import PieceForm

SCRIPTS = ["cyrillic", "devanagari", "tibetan", "latin"]
EVERY = [(kind, script) for kind in bases.BASES for script in SCRIPTS]
CODE = [
    "def f(x):\n    return {'a': [1, 22, 333], \"b\": x ** 2}  # 100%\n",
    "for (int i = 0; i < 10; ++i) { a[i] += b->c; }\r\n\t\n",
    "👩‍👩‍👧 🇰🇿 👍🏽 e\u0301a\u0308 한국어 日本語のテキスト สวัสดีครับ ١٢٣ ½ \u200d\u200c",
    "   spaces   and\ttabs \n\n\n",
]
anything = st.text(max_size=60) | st.text(
    alphabet="abkomiren қабарныжол བོདསྐད་ཡིག हिंदी में 0123 .,'{}\n\u0301\u200d😀",
    max_size=80,
)


def ids_of(backend: Tokenizer, text: str) -> list[int]:
    return backend.encode(text, add_special_tokens=False).ids


def expanded(made: extension.Extension, ids: list[int]) -> list[int]:
    """New ids replaced by the base pieces of their merge tree."""
    bases_of = {token.id: token.base_ids for token in made.tokens}
    return [old for id_ in ids for old in bases_of.get(id_, (id_,))]


def with_same_words(kind: str, made: extension.Extension) -> Tokenizer:
    """The base, cutting words at the same places as the extended tokenizer."""
    plain = json.loads(bases.BASES[kind]().to_str())
    if made.marks:
        plain["pre_tokenizer"] = json.loads(made.backend.to_str())["pre_tokenizer"]
    return Tokenizer.from_str(json.dumps(plain))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "script"), EVERY)
def test_new_tokens_taken_apart_are_the_base_tokenizers_ids(
    kind: str, script: str
) -> None:
    made = bases.extended(kind, script)
    base = with_same_words(kind, made)
    texts = CODE[:]
    for other in SCRIPTS:
        texts += tiny.documents(200, script=other, seed=9, sentences=2)
    new, old = made.backend.encode_batch_fast(texts), base.encode_batch_fast(texts)
    assert sum(len(e.ids) for e in new) < sum(len(e.ids) for e in old)
    for text, encoding, before in zip(texts, new, old, strict=True):
        assert expanded(made, encoding.ids) == before.ids, text


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(text=anything)
@pytest.mark.parametrize(("kind", "script"), EVERY)
def test_no_text_gets_longer(kind: str, script: str, text: str) -> None:
    made = bases.extended(kind, script)
    base = bases.BASES[kind]()
    for checked in (text, *CODE):
        assert len(ids_of(made.backend, checked)) <= len(ids_of(base, checked))


@settings(max_examples=25, deadline=None)
@given(text=anything)
@pytest.mark.parametrize("kind", bases.BASES)
def test_text_comes_back_as_from_the_base(kind: str, text: str) -> None:
    made, base = bases.extended(kind, "tibetan").backend, bases.BASES[kind]()
    back = made.decode(ids_of(made, text), skip_special_tokens=False)
    assert back == base.decode(ids_of(base, text), skip_special_tokens=False)
    if kind in ("byte_level", "llama3"):
        assert back == text


@pytest.mark.parametrize(("kind", "script"), EVERY)
def test_every_new_token_can_be_reached(kind: str, script: str) -> None:
    made = bases.extended(kind, script)
    assert len(made.tokens) > (10 if script == "latin" else 40)
    assert unreachable(made.backend, {t.piece: t.id for t in made.tokens}) == []


def test_a_naive_append_has_tokens_that_cannot_be_reached() -> None:
    """Negative control: the pieces and merges of a tokenizer of its own, appended."""
    texts = tiny.documents(120, script="latin", seed=3)
    texts = [text.replace("a", "o").replace("r", "t") for text in texts]
    base = bases.byte_level()
    own = json.loads(tiny.tokenizer(texts, 400).backend_tokenizer.to_str())["model"]
    plain = json.loads(base.to_str())
    vocabulary = plain["model"]["vocab"]
    tokens = []
    for left, right in own["merges"]:
        if left + right not in vocabulary:
            number = len(vocabulary)
            vocabulary[left + right] = number
            tokens.append(
                extension.NewToken(number, left + right, left + right, 1, (), ())
            )
        if left in vocabulary and right in vocabulary:
            plain["model"]["merges"].append([left, right])
    naive = Tokenizer.from_str(json.dumps(plain))
    assert unreachable(naive, {t.piece: t.id for t in tokens})


@pytest.mark.parametrize(("kind", "script"), EVERY)
def test_old_pieces_keep_their_ids_and_everything_else_stays(
    kind: str, script: str
) -> None:
    made, base = bases.extended(kind, script), bases.BASES[kind]()
    before, after = base.get_vocab(), made.backend.get_vocab()
    assert {piece: after.get(piece) for piece in before} == before
    assert [token.id for token in made.tokens] == list(
        range(max(before.values()) + 1, max(before.values()) + 1 + len(made.tokens))
    )
    old, new = json.loads(base.to_str()), json.loads(made.backend.to_str())
    assert new["added_tokens"] == old["added_tokens"]
    for part in ("post_processor", "normalizer", "decoder"):
        assert new[part] == old[part]
    assert (
        new["model"]["merges"][: len(old["model"]["merges"])]
        == (old["model"]["merges"])
    )
    for token in base.get_added_tokens_decoder().values():
        text = f"ba{token.content}ko"
        assert before[token.content] in ids_of(made.backend, text)
        assert ids_of(made.backend, text) == ids_of(base, text)


@pytest.mark.parametrize("kind", bases.BASES)
def test_text_in_other_scripts_is_cut_exactly_as_before(kind: str) -> None:
    made, base = bases.extended(kind, "devanagari"), bases.BASES[kind]()
    texts = [*CODE[:2], CODE[3], "e\u0301a\u0308 नहीं"[:4], "བོད་སྐད་ཡིག", "สวัสดีครับ ไม่"]
    for script in ("latin", "cyrillic", "tibetan"):
        texts += tiny.documents(50, script=script, seed=4)
    for text in texts:
        assert ids_of(made.backend, text) == ids_of(base, text)


@pytest.mark.trap(17)
@pytest.mark.parametrize("kind", bases.BASES)
def test_new_pieces_hold_no_digits_no_mixed_scripts_and_space_only_in_front(
    kind: str,
) -> None:
    texts = [
        f"қабар{n} {n}0{n} ba-қа baқа 日本語テキスト {n}। བོད་ab" for n in range(10)
    ]
    made = extension.extend(bases.BASES[kind](), lambda: texts * 20, bases.SETTINGS)
    longer = [token.text for token in made.tokens if token.text and len(token.text) > 1]
    assert any("қабар" in text for text in longer)
    assert any("語テ" in text for text in longer)
    for text in longer:
        assert not any(character.isnumeric() for character in text), text
        assert " " not in text[1:], text
        assert not (set(text) & set("қабр") and set(text) & set("abko-")), text


def test_marks_stay_with_their_letters_and_parts_of_characters_are_no_leaves() -> None:
    for kind in ("byte_level", "llama3"):
        made = bases.extended(kind, "devanagari")
        assert any("हिं" in (token.text or "") for token in made.tokens)
        parts = {part for token in made.tokens for part in token.parts}
        assert all(t.id in parts for t in made.tokens if t.text is None)
        without = extension.extend(
            bases.BASES[kind](),
            lambda: tiny.documents(120, script="devanagari"),
            bases.SETTINGS,
            change_pattern=False,
        )
        assert without.marks_cut
        held = "\n".join(tiny.documents(20, script="devanagari", seed=5))
        shorter = len(ids_of(made.backend, held))
        assert shorter < 0.7 * len(ids_of(without.backend, held))


def test_settings_are_limits() -> None:
    base, texts = bases.sentencepiece(), tiny.documents(60)
    few = ExtendVocabulary(new_tokens=30, minimum_occurrences=4, maximum_characters=3)
    made = extension.extend(base, lambda: texts, few)
    assert len(made.tokens) == 30
    assert max(len(token.text or "") for token in made.tokens) == 3
    rare = ExtendVocabulary(new_tokens=5_000, minimum_occurrences=50)
    made = extension.extend(base, lambda: texts, rare)
    assert 0 < len(made.tokens) < 5_000
    assert min(token.occurrences for token in made.tokens) >= 50


def test_the_same_text_gives_the_same_tokenizer() -> None:
    texts = tiny.documents(60)
    one, two = (
        extension.extend(bases.byte_level(), lambda: texts, bases.SETTINGS).backend
        for _ in range(2)
    )
    assert one.to_str() == two.to_str()


@pytest.mark.trap(7)
def test_the_wrong_string_would_be_taken_apart_wrongly() -> None:
    """Encoding the internal form as if it were text gives other base pieces."""
    made = bases.extended("byte_level", "cyrillic")
    base = bases.byte_level()
    whole = [token for token in made.tokens if token.text]
    assert all(ids_of(base, t.text or "") == list(t.base_ids) for t in whole)
    assert any(ids_of(base, t.piece) != list(t.base_ids) for t in whole)


def test_a_script_without_fallback_is_refused_by_name() -> None:
    base = bases.sentencepiece(byte_fallback=False)
    with pytest.raises(ScriptUnreadable, match=r"\d+\.\d% of the text"):
        extension.extend(base, lambda: tiny.documents(20), bases.SETTINGS)
    latin = tiny.documents(40, script="latin")
    made = extension.extend(base, lambda: latin, bases.SETTINGS)
    assert made.tokens
    counted = Counter("".join(latin))
    assert extension.unreadable_share(base, counted) < 0.01
    assert extension.unreadable_share(bases.byte_level(), Counter("қ")) == 0


@pytest.mark.parametrize("kind", ["Unigram", "WordPiece"])
def test_other_kinds_of_tokenizers_are_refused(kind: str) -> None:
    from tokenizers import models

    made = Tokenizer(
        models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0)
        if kind == "Unigram"
        else models.WordPiece({"[UNK]": 0, "a": 1})
    )
    with pytest.raises(BaseUnsuitable, match=kind):
        extension.extend(made, lambda: ["a a a a"], bases.SETTINGS)


def test_long_text_without_spaces_stays_quick() -> None:
    import random
    import time

    order = random.Random(1)
    syllables = tiny.SYLLABLES["tibetan"]
    long = ["".join(order.choices(syllables, k=10_000))]
    began = time.process_time()
    for kind in bases.BASES:
        made = extension.extend(bases.BASES[kind](), lambda: long, bases.SETTINGS)
        assert len(made.tokens) == 120
    assert time.process_time() - began < 6


@pytest.mark.slow
def test_mistrals_tokenizer(shared_data: Path) -> None:
    base = bases.mistral(shared_data / "tokenizers/mistral/tokenizer.model.v1")
    corpus = (shared_data / "bengali/corpus.txt").read_text(encoding="utf-8")
    lines = corpus.splitlines()
    made = extension.extend(base, lambda: lines[100:], ExtendVocabulary(new_tokens=600))
    assert len(made.tokens) == 600
    assert unreachable(made.backend, {t.piece: t.id for t in made.tokens}) == []
    english = (shared_data / "english/wiki.txt").read_text(encoding="utf-8")[:200_000]
    for text in english.splitlines():
        assert ids_of(made.backend, text) == ids_of(base, text)
    for text in lines[:100]:
        assert expanded(made, ids_of(made.backend, text)) == ids_of(base, text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "least"),
    [("kazakh", 2.61), ("tibetan", 2.6), ("uyghur", 2.6), ("bengali", 2.3)],
)
def test_characters_per_token_on_real_text(
    shared_data: Path, language: str, least: float
) -> None:
    """stories260K, 1,500 tokens, the last 60,000 characters in chunks of 400."""
    name = "corpus-nanhai.txt" if language == "tibetan" else "corpus.txt"
    text = (shared_data / language / name).read_text(encoding="utf-8")
    held, lines = text[-60_000:], text[:-60_000][:700_000].splitlines()
    base = Tokenizer.from_file(
        str(shared_data / "base-models/stories260K/tokenizer.json")
    )
    made = extension.extend(base, lambda: lines, ExtendVocabulary())
    chunks = [held[at : at + 400] for at in range(0, len(held), 400)]
    count = sum(len(ids_of(made.backend, chunk)) for chunk in chunks)
    assert len(held) / count >= least
    for chunk in chunks:
        assert expanded(made, ids_of(made.backend, chunk)) == ids_of(base, chunk)


def test_words_are_counted_in_the_tokenizers_own_form() -> None:
    base = bases.sentencepiece()
    words = counting.count_words(base, PieceForm(json.loads(base.to_str())), ["ба ба"])
    assert words == {"\u2581ба": 2}


def test_a_very_long_text_is_counted_like_its_parts() -> None:
    base = bases.byte_level()
    form = PieceForm(json.loads(base.to_str()))
    short = [f" {text}" for text in tiny.documents(1_000)]
    whole = counting.count_words(base, form, ["".join(short)])
    assert sum(map(len, short)) > counting.LONGEST_TEXT
    assert whole == counting.count_words(base, form, short)


def test_patterns_change_only_for_marks_of_the_text() -> None:
    plain = json.loads(bases.llama3().to_str())
    assert pre_tokenizer.keep_marks(plain, Counter("қабар" * 9), 4) == (plain, "")
    changed, marks = pre_tokenizer.keep_marks(plain, Counter("हिंदी" * 9), 4)
    assert "\u093f" in marks and "\u09be" not in marks
    pattern = changed["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    assert marks in pattern
    assert pre_tokenizer.widen(r"[\p{L}\p{M}]+", marks) == r"[\p{L}\p{M}]+"
