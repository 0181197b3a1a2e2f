"""Words in many scripts, and which pieces are theirs."""

from __future__ import annotations

import pytest

from tests.training.embeddings import material
from training.embeddings.words import (
    limited,
    pieces_of_words,
    texts_of,
    word_spans,
    words,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Habari, dunia!", ["habari", ",", "dunia", "!"]),
        ("ng'ombe 12 a_b", ["ng'ombe", "12", "a", "_", "b"]),
        ("हिंदी में", ["हिंदी", "में"]),
        ("བོད་སྐད་", ["བོད", "་", "སྐད", "་"]),
        ("中文 word", ["中", "文", "word"]),
        ("e\u0301a", ["e\u0301a"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == [word.casefold() for word in expected]


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece", "metaspace", "llama3"])
def test_the_pieces_of_words_are_those_that_spell_them(kind: str) -> None:
    backend = material.bases.BASES[kind]()
    text = "bako, miren қабар."
    encoding = backend.encode(text, add_special_tokens=False)
    found = pieces_of_words(encoding, text)
    assert len(found) == len(word_spans(text)) == 5
    for (start, end), ids in zip(word_spans(text), found, strict=True):
        assert backend.decode(list(ids)).strip() == text[start:end]


def test_special_tokens_and_bytes_have_no_text() -> None:
    found = texts_of(material.bases.sentencepiece())
    assert not {"<s>", "</s>", "<unk>"} & set(found.values())
    assert "A" not in found.values() and any(t.startswith(" ") for t in found.values())


def test_text_is_limited() -> None:
    assert list(limited(["ab\n\ncd", "ef", "gh"], 6)) == ["ab", "cd"]
