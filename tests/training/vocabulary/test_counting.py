"""Words are counted exactly as the tokenizer cuts them, in bounded memory."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import tiny
from tests.training.vocabulary import bases
from training.vocabulary import counting
from training.vocabulary.pieces import PieceForm

TEXTS = [
    "def f(x):\n    return {'a': [1, 22, 333]}  # 100%\r\n\t\n",
    "👩‍👩‍👧 🇰🇿 e\u0301a\u0308 한국어 日本語のテキスト สวัสดีครับ ١٢٣",
    "½ \u200d\u200c \x00 \ufffd",
    '   spaces   and\ttabs \n\n\n we\'ll "quote\\" ▁▁ <0x0A> <s>',
    "",
]


@pytest.mark.parametrize("kind", bases.BASES)
def test_counted_in_blocks_equals_counted_plainly(kind: str) -> None:
    base = bases.BASES[kind]()
    form = PieceForm(json.loads(base.to_str()))
    texts = TEXTS + [t for s in tiny.SYLLABLES for t in tiny.documents(20, script=s)]
    plainly = counting.count_plainly(base, form, texts)
    assert plainly.total() > 1_000
    assert dict(counting.block_counter(base, form)(texts)) == dict(plainly)
    assert counting.count_words(base, form, texts) == plainly


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_is_counted_the_same(text: str) -> None:
    base = bases.llama3()
    form = PieceForm(json.loads(base.to_str()))
    assert counting.count_words(base, form, [text]) == counting.count_plainly(
        base, form, [text]
    )


def test_memory_is_bounded_and_the_error_is_known() -> None:
    order = random.Random(1)
    words = [f"w{int(order.paretovariate(0.35)) % 50_000}" for _ in range(60_000)]
    true = Counter(words)
    counts = counting.WordCounts(most=2_000)
    most_held = 0
    for at in range(0, len(words), 500):
        counts.add("", Counter(words[at : at + 500]))
        most_held = max(most_held, len(counts.words[""]))
    assert len(true) > 5_000 and most_held <= 2_000
    missed, held = counts.missed[""], counts.words[""]
    assert missed > 0
    for word, count in true.items():
        assert held[word] <= count <= held[word] + missed
    assert any(held[word] < count for word, count in true.items())
    assert [w for w, _ in held.most_common(20)] == [w for w, _ in true.most_common(20)]


def test_the_largest_language_gives_way() -> None:
    counts = counting.WordCounts(most=100)
    counts.add("small", {f"s{n}": 1 for n in range(20)})
    counts.add("large", {f"l{n}": 1 + n // 60 for n in range(120)})
    assert len(counts.words["small"]) == 20 and counts.missed == {"large": 1}
    assert set(counts.words["large"]) == {f"l{n}" for n in range(60, 120)}
    assert counts.different == 80


def test_nothing_is_forgotten_of_a_text_that_fits() -> None:
    counts = counting.WordCounts(most=100)
    for _ in range(3):
        counts.add("", {f"w{n}": 1 for n in range(100)})
    assert counts.missed == {} and set(counts.words[""].values()) == {3}
