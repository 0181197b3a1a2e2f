"""Which property each method claims for which kind of tokenizer, and whether it holds.

expansion      new tokens taken apart through their merges are exactly the base's ids
coarsening     every cut of the new tokenizer is a cut of the base
monotonicity   no text gets longer
reachability   no piece that its own text does not give, by merges alone
old_ids        every old piece has its old id, and all old merges come first
untouched      text in scripts that got no piece is cut exactly as before
carried        a row that is carried over is the same string's, every id has one row
numbers        digits and white space are cut exactly as before
special_ids    special and added tokens have their ids and are found in text
surroundings   normaliser, decoder, post-processor and added tokens are the base's
fewer          only pieces of scripts nobody uses, and the number asked for, are gone
round_trip     text comes back as from the base, byte for byte on byte-level tokenizers
"""

from __future__ import annotations

import json
from functools import cache
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.training import tiny
from tests.training.vocabulary import bases
from training.errors import BaseUnsuitable
from training.spec import ExtendVocabulary
from training.vocabulary import counting, methods
from training.vocabulary.change import Change, fires, unreachable
from training.vocabulary.pieces import PieceForm, kind_of

pytestmark = pytest.mark.slow

BPE = tuple(bases.BASES)
EVERY_KIND = {**bases.BASES, "unigram": bases.unigram}
ALWAYS = {"reachability", "special_ids", "surroundings", "round_trip"}
ADDING = ALWAYS | {"old_ids", "untouched"}
CLAIMS: dict[tuple[str, str], set[str]] = {}
for _kind in BPE:
    CLAIMS["continued_bpe", _kind] = ADDING | {
        "expansion",
        "coarsening",
        "monotonicity",
    }
    # A piece can be made in more than one way, so that its cuts and not its expansion
    # are the base's.
    CLAIMS["append", _kind] = ADDING | {"coarsening", "monotonicity"}
    # A new vocabulary cuts text in its own way, and pruned text gets longer.
    CLAIMS["replace", _kind] = ALWAYS | {"carried", "numbers"}
    CLAIMS["prune", _kind] = ALWAYS | {"carried", "fewer"}
# The likeliest pieces of a text are sought as a whole: cuts can move, and two rare pieces
# can give way to three.
CLAIMS["append", "unigram"] = ADDING

SCRIPTS = ("cyrillic", "devanagari", "latin")
MIXED = [
    "def f(x):\n    return {'a': [1, 22, 333], \"b\": x ** 2}  # 100%\n",
    "for (int i = 0; i < 10; ++i) { a[i] += b->c; }\r\n\t\n",
    "👩‍👩‍👧 🇰🇿 👍🏽 e\u0301a\u0308 한국어 日本語のテキスト สวัสดีครับ ١٢٣ ½ \u200d\u200c",
    "   spaces   and\ttabs \n\n\n",
]
anything = st.text(max_size=60) | st.text(
    alphabet="abkomiren қабарныжол हिंदी में 0123 .,'{}\n\u0301\u200d😀", max_size=80
)
SETTINGS = ExtendVocabulary(new_tokens=100, minimum_occurrences=4)


def claiming(name: str, *scripts: str) -> pytest.MarkDecorator:
    """Every method and kind that claims a property (and every script)."""
    rows = [case for case, claims in CLAIMS.items() if name in claims]
    if not scripts:
        return pytest.mark.parametrize(("method", "kind"), rows)
    cases = [(*row, script) for row in rows for script in scripts]
    return pytest.mark.parametrize(("method", "kind", "script"), cases)


@cache
def made(method: str, kind: str, script: str) -> Change:
    texts = tiny.documents(120, script=script, seed=3)
    if script == "latin":  # another language than the base's, in the same letters
        texts = [text.replace("a", "o").replace("r", "t") for text in texts]
    return methods.change(
        EVERY_KIND[kind](),
        lambda: iter(texts),
        ExtendVocabulary(
            method=method, new_tokens=100, minimum_occurrences=4, prune_tokens=20
        ),
        protected=lambda: tiny.documents(40, script="latin", seed=5),
    )


@cache
def base_of(kind: str, script: str, method: str) -> Tokenizer:
    """The base, cutting words at the same places as the changed tokenizer."""
    plain = json.loads(EVERY_KIND[kind]().to_str())
    changed = made(method, kind, script)
    if changed.marks:
        plain["pre_tokenizer"] = json.loads(changed.backend.to_str())["pre_tokenizer"]
    return Tokenizer.from_str(json.dumps(plain))


def ids_of(backend: Tokenizer, text: str) -> list[int]:
    return backend.encode(text, add_special_tokens=False).ids


def cuts(backend: Tokenizer, text: str, form: PieceForm | None = None) -> set[int]:
    """Where the tokenizer cuts a text, in bytes of its normalised form."""
    form = form or PieceForm(json.loads(backend.to_str()), ("BPE", "Unigram"))
    tokens = backend.encode(text, add_special_tokens=False).tokens
    return set(accumulate(len(form.as_bytes(token)) for token in tokens))


@claiming("expansion", *SCRIPTS)
def test_expansion(method: str, kind: str, script: str) -> None:
    changed = made(method, kind, script)
    bases_of = {token.id: token.base_ids for token in changed.tokens}
    base = base_of(kind, script, method)
    for text in MIXED + tiny.documents(30, script=script, seed=9):
        new = ids_of(changed.backend, text)
        expanded = [old for id_ in new for old in bases_of.get(id_, (id_,))]
        assert expanded == ids_of(base, text)


@claiming("coarsening", *SCRIPTS)
def test_coarsening(method: str, kind: str, script: str) -> None:
    backend, base = made(method, kind, script).backend, base_of(kind, script, method)
    fewer = 0
    for text in MIXED + tiny.documents(10, script=script, seed=9):
        new, old = cuts(backend, text), cuts(base, text)
        assert new <= old, text
        fewer += len(new) < len(old)
    assert fewer > 5


@pytest.mark.trap(3)
@claiming("monotonicity", "cyrillic", "latin")
@settings(max_examples=20, deadline=None)
@given(text=anything)
def test_monotonicity(method: str, kind: str, script: str, text: str) -> None:
    backend, base = made(method, kind, script).backend, EVERY_KIND[kind]()
    for checked in (text, *MIXED):
        assert len(ids_of(backend, checked)) <= len(ids_of(base, checked))


@pytest.mark.trap(4)
@claiming("reachability", *SCRIPTS)
def test_reachability(method: str, kind: str, script: str) -> None:
    changed, base = made(method, kind, script), EVERY_KIND[kind]()
    assert unreachable(changed.backend, {t.piece: t.id for t in changed.tokens}) == []
    if method != "prune" and (kind, script) != ("unigram", "latin"):
        assert len(changed.tokens) > 10
    # Nor did a piece die that could be reached before.
    was_dead = set(unreachable(base, ordinary(base)))
    assert set(unreachable(changed.backend, ordinary(changed.backend))) <= was_dead


def ordinary(backend: Tokenizer) -> dict[str, int]:
    """The vocabulary without added tokens and bytes."""
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    return {
        piece: id_
        for piece, id_ in backend.get_vocab().items()
        if piece not in added and not piece.startswith("<0x")
    }


@pytest.mark.trap(3)
@claiming("old_ids", *SCRIPTS)
def test_old_ids(method: str, kind: str, script: str) -> None:
    changed, base = made(method, kind, script), EVERY_KIND[kind]()
    before, after = base.get_vocab(), changed.backend.get_vocab()
    assert {piece: after.get(piece) for piece in before} == before
    first = max(before.values()) + 1
    ids = [token.id for token in changed.tokens]
    assert ids == list(range(first, first + len(ids)))
    assert changed.kept is None and len(after) == len(before) + len(ids)
    if kind != "unigram":
        old = json.loads(base.to_str())["model"]["merges"]
        assert (
            json.loads(changed.backend.to_str())["model"]["merges"][: len(old)] == old
        )


@claiming("carried", *SCRIPTS)
def test_carried(method: str, kind: str, script: str) -> None:
    changed, base = made(method, kind, script), EVERY_KIND[kind]()
    before, after = base.get_vocab(), changed.backend.get_vocab()
    kept, new = changed.kept, {token.id: token for token in changed.tokens}
    assert kept is not None and not set(kept) & set(new)
    assert set(kept) | set(new) == set(after.values())
    assert len(set(kept.values())) == len(kept)
    for piece, id_ in after.items():
        if id_ in kept:
            assert before[piece] == kept[id_]
        else:
            assert piece not in before and new[id_].piece == piece
    internal = counting.word_tokenizer(
        json.loads(base_of(kind, script, method).to_str())
    )
    for token in changed.tokens:
        encoded = internal.encode(token.piece, add_special_tokens=False)
        assert list(token.base_ids) == encoded.ids
    if kind != "llama3":  # its special ids come last, with a gap before
        assert sorted(after.values()) == list(range(len(after)))


@claiming("numbers")
@settings(max_examples=20, deadline=None)
@given(text=st.text(alphabet="0123456789 \n\t", max_size=40))
def test_numbers(method: str, kind: str, text: str) -> None:
    backend, base = made(method, kind, "latin").backend, EVERY_KIND[kind]()
    assert backend.encode(text).tokens == base.encode(text).tokens


@claiming("fewer", "cyrillic", "latin")
def test_fewer(method: str, kind: str, script: str) -> None:
    changed, base = made(method, kind, script), EVERY_KIND[kind]()
    gone = set(base.get_vocab()) - set(changed.backend.get_vocab())
    assert len(gone) == changed.figures["removed"] == 20
    form = PieceForm(json.loads(base.to_str()))
    assert not any(len(piece) == 1 or form.is_bare_byte(piece) for piece in gone)
    words = counting.count_words(base, form, tiny.documents(20, script=script))
    text = "".join(words)
    rare = fires(json.loads(base.to_str()), words)
    assert all(rare[base.token_to_id(piece)] < len(text) / 10 for piece in gone)


@claiming("untouched")
def test_untouched(method: str, kind: str) -> None:
    backend, base = made(method, kind, "devanagari").backend, EVERY_KIND[kind]()
    texts = [*MIXED[:2], "བོད་སྐད་ཡིག", "สวัสดีครับ ไม่"]
    for script in ("latin", "cyrillic", "tibetan"):
        texts += tiny.documents(20, script=script, seed=4)
    for text in texts:
        assert ids_of(backend, text) == ids_of(base, text)


@pytest.mark.trap(5)
@claiming("special_ids", *SCRIPTS)
def test_special_ids(method: str, kind: str, script: str) -> None:
    backend, base = made(method, kind, script).backend, EVERY_KIND[kind]()
    old = base.get_added_tokens_decoder()
    assert backend.get_added_tokens_decoder() == old
    for id_, token in old.items():
        assert backend.token_to_id(token.content) == id_
        assert id_ in ids_of(backend, f"ba{token.content}ko")


@claiming("surroundings", *SCRIPTS)
def test_surroundings(method: str, kind: str, script: str) -> None:
    changed = made(method, kind, script)
    old, new = (
        json.loads(EVERY_KIND[kind]().to_str()),
        json.loads(changed.backend.to_str()),
    )
    parts = ["added_tokens", "post_processor", "normalizer", "decoder"]
    for part in parts if changed.marks else [*parts, "pre_tokenizer"]:
        assert new[part] == old[part]
    for part in set(old["model"]) - {"vocab", "merges"}:
        assert new["model"][part] == old["model"][part]


@pytest.mark.trap(8)
@claiming("round_trip")
@settings(max_examples=30, deadline=None)
@given(text=anything)
def test_round_trip(method: str, kind: str, text: str) -> None:
    backend, base = made(method, kind, "devanagari").backend, EVERY_KIND[kind]()
    for checked in (text, *MIXED):
        back = backend.decode(ids_of(backend, checked), skip_special_tokens=False)
        before = base.decode(ids_of(base, checked), skip_special_tokens=False)
        assert back == before
        assert back == checked or kind not in ("byte_level", "llama3")


@pytest.mark.parametrize(("method", "kind"), CLAIMS)
def test_the_same_text_gives_the_same_tokenizer(method: str, kind: str) -> None:
    again = made.__wrapped__(method, kind, "cyrillic")
    assert again.backend.to_str() == made(method, kind, "cyrillic").backend.to_str()
    assert again.tokens == made(method, kind, "cyrillic").tokens


@pytest.mark.parametrize("method", ["continued_bpe", "replace", "prune"])
def test_a_unigram_base_is_told_what_to_do(method: str) -> None:
    with pytest.raises(BaseUnsuitable, match=method) as refused:
        made(method, "unigram", "cyrillic")
    assert "append" in refused.value.hint


# Negative controls: the same properties of what is done elsewhere.


def appended_with_score_0() -> Tokenizer:
    """The same new pieces, made before all old merges."""
    plain = json.loads(made("append", "sentencepiece", "latin").backend.to_str())
    old = json.loads(bases.sentencepiece().to_str())["model"]["merges"]
    plain["model"]["merges"] = plain["model"]["merges"][len(old) :] + old
    return Tokenizer.from_str(json.dumps(plain))


@pytest.mark.trap(1)
def test_score_0_cuts_the_bases_own_words_otherwise() -> None:
    base, naive = bases.sentencepiece(), appended_with_score_0()
    below = made("append", "sentencepiece", "latin").backend
    words = sorted(set(" ".join(tiny.documents(60, script="latin")).split()))
    moved = [word for word in words if not cuts(naive, word) <= cuts(base, word)]
    assert len(moved) > len(words) / 20
    assert not [word for word in words if not cuts(below, word) <= cuts(base, word)]


@pytest.mark.trap(2)
def test_add_tokens_cuts_otherwise_and_breaks_text() -> None:
    base = bases.byte_level()
    changed = made("continued_bpe", "byte_level", "latin")
    naive = Tokenizer.from_str(base.to_str())
    naive.add_tokens([t.text for t in changed.tokens if t.text] + ["für"])
    # An added token is found inside words, before any merge.
    naive.add_tokens(["ako"])
    assert cuts(base, "bako") == {2, 4} and cuts(naive, "bako") == {1, 4}
    back = naive.decode(ids_of(naive, "dafür"), skip_special_tokens=False)
    assert back != "dafür"


@pytest.mark.trap(4)
def test_the_pieces_of_a_whole_vocabulary_leave_some_that_cannot_be_reached() -> None:
    """All merges of a tokenizer of the language, put behind the old ones."""
    base = bases.byte_level()
    texts = tiny.documents(120, script="latin", seed=3)
    texts = [text.replace("a", "o").replace("r", "t") for text in texts]
    own = json.loads(tiny.tokenizer(texts, 400).backend_tokenizer.to_str())["model"]
    plain = json.loads(base.to_str())
    vocabulary = plain["model"]["vocab"]
    for left, right in own["merges"]:
        vocabulary.setdefault(left + right, len(vocabulary))
        if left in base.get_vocab() and right in base.get_vocab():
            plain["model"]["merges"].append([left, right])
    naive = Tokenizer.from_str(json.dumps(plain))
    new = {p: id_ for p, id_ in vocabulary.items() if p not in base.get_vocab()}
    assert unreachable(naive, new)


# Real tokenizers and real text.


def real(name: str, shared_data: Path) -> Tokenizer:
    if name == "mistral":
        return bases.mistral(shared_data / "tokenizers/mistral/tokenizer.model.v1")
    if name == "chinese":
        path = shared_data / "tokenizers/chinese-sp/chinese_sp.model"
        return bases.unigram_of_file(path)
    return Tokenizer.from_file(
        str(shared_data / "base-models" / name / "tokenizer.json")
    )


REAL = [
    (method, name)
    for name in ("mistral", "stories260K", "babyllama-tok361-1M")
    for method in ("continued_bpe", "append", "replace", "prune")
] + [("append", "chinese")]


@pytest.mark.parametrize(("method", "name"), REAL)
def test_real_tokenizers(shared_data: Path, method: str, name: str) -> None:
    base = real(name, shared_data)
    kind = "unigram" if name == "chinese" else "sentencepiece"
    english = (shared_data / "english/wiki.txt").read_text("utf-8").splitlines()
    english = [line for line in english if len(line) > 40]
    if name == "chinese":
        path = shared_data / "chinese/instructions-alpaca-zh.json"
        texts = [row["output"] for row in json.loads(path.read_text("utf-8"))]
        texts = ["".join(c for c in t if kind_of(c) == "CJK") for t in texts]
    else:
        texts = (shared_data / "kazakh/corpus.txt").read_text("utf-8").splitlines()
    held, texts = texts[:100], texts[100:4_000]
    chosen = ExtendVocabulary(
        method=method, new_tokens=500, prune_tokens=30, vocabulary_size=3_000
    )
    changed = methods.change(
        base, lambda: texts, chosen, protected=lambda: english[::2]
    )
    backend, claims = changed.backend, CLAIMS[method, kind]
    assert unreachable(backend, {t.piece: t.id for t in changed.tokens}) == []
    dead = set(unreachable(base, ordinary(base)))
    assert set(unreachable(backend, ordinary(backend))) <= dead
    assert backend.get_added_tokens_decoder() == base.get_added_tokens_decoder()
    bases_of = {token.id: token.base_ids for token in changed.tokens}
    form = PieceForm(json.loads(base.to_str()), ("BPE", "Unigram"))
    lengths = [0, 0]
    for text in [*held, *english[1:100:2], *MIXED]:
        new, old = ids_of(backend, text), ids_of(base, text)
        one = backend.decode(new, skip_special_tokens=False)
        assert one == base.decode(old, skip_special_tokens=False) or kind == "unigram"
        if "monotonicity" in claims:
            assert len(new) <= len(old)
        if "coarsening" in claims:
            assert cuts(backend, text, form) <= cuts(base, text, form)
        if "expansion" in claims:
            assert [b for id_ in new for b in bases_of.get(id_, (id_,))] == old
        if text in held:
            lengths = [lengths[0] + len(old), lengths[1] + len(new)]
    if method != "prune":
        assert lengths[1] < lengths[0]
        assert len(changed.tokens) > 50
