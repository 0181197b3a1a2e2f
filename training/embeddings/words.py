"""Words of a text, and the pieces of a tokenizer that belong to each.

A word is a run of letters, marks and digits; every other visible character, and every
Han character or Hiragana, is a word by itself; the Tibetan tsheg ends a word. Scripts
that write no spaces (Thai, Khmer, Lao, Burmese) give one word a phrase.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice

from tokenizers import Encoding, Tokenizer

from training.vocabulary.pieces import JOINERS, PieceForm

# Hiragana and Han characters, with their compatibility forms and extensions.
SINGLE = "\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Vectors and alignments of more text than this are no better for a vocabulary.
MOST_CHARACTERS = 20_000_000
TOGETHER = 1_000
KINDS = ("BPE", "Unigram")


@cache
def _pattern() -> re.Pattern[str]:
    """Python's \\w leaves marks out, without which Indic words fall apart."""
    marks = "".join(
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code))[0] == "M"
    )
    inside = re.escape(marks + "".join(sorted(JOINERS)))
    return re.compile(rf"[{SINGLE}]|[^\W_{SINGLE}](?:[^\W_{SINGLE}]|[{inside}])*|\S")


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end (characters)."""
    return [match.span() for match in _pattern().finditer(text)]


def words(text: str) -> list[str]:
    """The words of a text in small letters."""
    return [match.group().casefold() for match in _pattern().finditer(text)]


def words_of_pairs(
    pairs: Iterable[tuple[str, str]],
) -> list[tuple[list[str], list[str]]]:
    """The words of both sides of each pair. A word that comes again is the same object:
    sentences then take eight bytes a word."""
    known: dict[str, str] = {}

    def of(text: str) -> list[str]:
        return [known.setdefault(word, word) for word in words(text)]

    return [(of(one), of(two)) for one, two in pairs]


def limited(texts: Iterable[str], most: int = MOST_CHARACTERS) -> Iterator[str]:
    """Lines of texts up to `most` characters; empty ones left out."""
    left = most
    for text in texts:
        for line in text.splitlines():
            if line.strip():
                yield line
        left -= len(text)
        if left <= 0:
            return


def encoded(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[Encoding]:
    """Encodings of texts, a batch at a time, without special tokens."""
    remaining = iter(texts)
    while batch := list(islice(remaining, TOGETHER)):
        yield from tokenizer.encode_batch(batch, add_special_tokens=False)


def form_of(tokenizer: Tokenizer) -> PieceForm:
    """The internal form of a tokenizer's pieces; raises BaseUnsuitable for WordPiece."""
    return PieceForm(json.loads(tokenizer.to_str()), KINDS)


def texts_of(tokenizer: Tokenizer) -> dict[int, str]:
    """The text of every ordinary piece, its leading space with it, by id.

    Left out: special and added tokens, byte pieces, parts of characters, blanks.
    """
    form = form_of(tokenizer)
    added = tokenizer.get_added_tokens_decoder()
    found = {}
    for piece, id_ in tokenizer.get_vocab().items():
        if id_ in added or form.is_bare_byte(piece):
            continue
        text = form.as_text(piece)
        if text and text.strip():
            found[id_] = text
    return found


def pieces_of_words(encoding: Encoding, text: str) -> list[tuple[int, ...]]:
    """The ids of each word's pieces, in the order of `word_spans(text)`.

    A piece belongs to the word that its last character stands in.
    """
    spans = word_spans(text)
    word_at = {}
    for number, (start, end) in enumerate(spans):
        word_at.update(dict.fromkeys(range(start, end), number))
    found: list[list[int]] = [[] for _ in spans]
    for id_, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        number = word_at.get(end - 1) if end > start else None
        if number is not None:
            found[number].append(id_)
    return [tuple(ids) for ids in found]


def phrase_forms(
    tokenizer: Tokenizer, phrases: Iterable[str]
) -> dict[str, list[tuple[int, ...]]]:
    """The ids of each phrase in two places: within a line and at its start."""
    space = " " if form_of(tokenizer).byte_level else ""
    return {
        phrase: [
            tuple(tokenizer.encode(start + phrase, add_special_tokens=False).ids)
            for start in (space, "")
        ]
        for phrase in phrases
    }
