from __future__ import annotations

import pytest

from tests.training import tiny
from training.evaluation.tokenizer_figures import count_words, tokenizer_figures


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("Mtu huyu ni mwema.", 4),
        ("don't  stop -- now", 3),
        ("қазақ тілі, 2026 жыл", 4),
        ("हिन्दी भाषा", 2),
        ("བོད་སྐད་ཡིག", 3),
        ("我学中文", 4),
        ("ภาษาไทย", 7),
        ("中文 and English", 4),
    ],
)
def test_words_are_counted_in_every_script(text: str, words: int) -> None:
    assert count_words(text) == words


def test_bytes_and_parts_of_characters_are_counted() -> None:
    english = tiny.tokenizer(tiny.documents(80, script="latin"))
    own = tiny.tokenizer(tiny.documents(80), size=600)
    text = tiny.documents(5, seed=9)
    foreign, known = tokenizer_figures(english, text), tokenizer_figures(own, text)
    assert foreign["byte_fallback_share"] > 0.8
    assert known["byte_fallback_share"] < 0.05
    assert known["characters_per_token"] > 3 * foreign["characters_per_token"]
    assert known["tokens_per_word"] < foreign["tokens_per_word"]
    assert known["vocabulary"] == len(own)


def test_figures_are_ratios_of_the_same_counts() -> None:
    tokenizer = tiny.tokenizer(tiny.documents(80))
    text = tiny.documents(5)
    figures = tokenizer_figures(tokenizer, text)
    tokens = sum(len(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in text)
    characters = sum(map(len, text)) / tokens
    assert figures["characters_per_token"] == pytest.approx(characters, abs=1e-4)
    assert figures["tokens_per_word"] == pytest.approx(
        tokens / sum(map(count_words, text)), abs=1e-4
    )
