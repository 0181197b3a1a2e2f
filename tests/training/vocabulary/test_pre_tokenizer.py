"""Patterns that keep marks with their letters only ever take cuts away."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.training import tiny
from tests.training.vocabulary import bases
from training.spec import ExtendVocabulary
from training.vocabulary import extension, pre_tokenizer

# GPT-4o's and Mistral NeMo's kind: it knows marks, and not what is no mark.
KNOWS_MARKS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    "gpt2": pre_tokenizer.GPT2_PATTERN,
    "llama3": bases.LLAMA3_PATTERN,
    "knows marks": KNOWS_MARKS,
}
HINDI, SINHALA, TIBETAN = "हिंदी भक्\u200dत", "ශ්\u200dරී ලංකා", "བོད་སྐད་"
EMOJI = "❤️ ☺️ 1️⃣ 👩‍👩‍👧 ok"
TARGETS = (HINDI, SINHALA, TIBETAN, "می\u200cروم", "Vie\u0323\u0302t", EMOJI)
anything = st.text(max_size=40) | st.text(
    alphabet=sorted({*"".join(TARGETS), *" ab!।،1\n\u0301\ufe0f"}), max_size=60
)


def words(pattern: str, text: str) -> list[str]:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return [word for word, _ in split.pre_tokenize_str(text)]


def cuts(found: list[str]) -> set[int]:
    return set(accumulate(map(len, found)))


def widened(name: str, target: str) -> str:
    marks = pre_tokenizer.marks_of(Counter(target * 9), 4)
    return pre_tokenizer.widen(PATTERNS[name], marks)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PATTERNS)
@settings(max_examples=60, deadline=None)
@given(text=anything)
@example(text="हि। भक्\u200dत ❤️। བོད་!")
def test_no_cut_is_new(name: str, target: str, text: str) -> None:
    assert cuts(words(widened(name, target), text)) <= cuts(words(PATTERNS[name], text))


def test_marks_among_the_letters_would_cut_anew() -> None:
    """Negative control: the marks written into every class of letters."""
    letters = PATTERNS["gpt2"].replace(r" ?\p{L}+", r" ?[\p{L}ि]+")
    letters = letters.replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}ि\p{N}]")
    assert not cuts(words(letters, "हि।")) <= cuts(words(PATTERNS["gpt2"], "हि।"))


@pytest.mark.parametrize("name", PATTERNS)
def test_words_of_the_target_stay_whole(name: str) -> None:
    for text in (HINDI, SINHALA, "می\u200cروم", "Vie\u0323\u0302t"):
        found = words(widened(name, text), text)
        assert "".join(found) == text
        assert [word.strip() for word in found] == text.split()
    assert words(widened(name, TIBETAN), TIBETAN) == [TIBETAN]


@pytest.mark.parametrize("name", PATTERNS)
def test_text_without_these_marks_is_cut_as_before(name: str) -> None:
    texts = [*tiny.documents(5, script="latin"), "สวัสดีครับ ไม่", EMOJI, "a\u0301 1 !\n"]
    for text in texts:
        assert words(widened(name, TIBETAN), text) == words(PATTERNS[name], text)


def test_what_belongs_to_emoji_is_no_mark_of_a_language() -> None:
    marks = pre_tokenizer.marks_of(Counter((EMOJI + HINDI) * 9), 4)
    assert "\u093f" in marks and not {"\ufe0f", "\u20e3"} & set(marks)


def test_a_pattern_is_glued_once_and_at_all_marks() -> None:
    """A model that was taught one language is taught another."""
    for name in PATTERNS:
        once = widened(name, HINDI + TIBETAN)
        marks = [
            pre_tokenizer.marks_of(Counter(text * 9), 4) for text in (HINDI, TIBETAN)
        ]
        twice = PATTERNS[name]
        for one in (*marks, marks[0]):
            twice = pre_tokenizer.widen(twice, one)
        assert twice == once


@pytest.mark.parametrize("target", [EMOJI, HINDI.replace("\u200d", ""), TIBETAN])
@pytest.mark.parametrize("name", PATTERNS)
def test_a_base_that_knows_the_pieces_writes_no_text_longer(
    name: str, target: str
) -> None:
    """Old pieces that reach over a place where new words would be cut: "❤️", "ै।"."""
    known = [*TARGETS, "हि। दी। ❤️❤️ བོད། ་སྐད"]
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERNS[name]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    base.decoder = decoders.ByteLevel()
    base.train_from_iterator(
        known * 20,
        trainers.BpeTrainer(
            vocab_size=500,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    texts = [f"{target} {text}" for text in tiny.documents(40)]
    chosen = ExtendVocabulary(new_tokens=60, minimum_occurrences=4)
    made = extension.extend(base, lambda: texts, chosen)
    assert made.tokens
    for text in known:
        assert len(made.backend.encode(text).ids) <= len(base.encode(text).ids)
