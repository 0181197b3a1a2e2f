"""How a tokenizer cuts a language: four figures over held-out text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from training.data.tokens import encode
from training.vocabulary.pieces import BYTE_PIECE, bytes_of_letters

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Scripts written without spaces between words. Without a dictionary a word cannot be
# told there: each base character (with its marks) counts as one, in Tibetan each
# syllable between tshegs. Compare such figures within one language only.
UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1980-\u19df\u1a20-\u1aaf"
    r"\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff"
    r"\uaa60-\uaa7f\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
WORD_JOINERS = frozenset("'’-\u200c\u200d·")


def tokenizer_figures(
    tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]
) -> dict[str, Any]:
    """Figures of a tokenizer on texts.

    vocabulary: pieces, special ones included. characters_per_token. tokens_per_word.
    byte_fallback_share: share of tokens that are a byte or a part of a character.
    """
    texts = list(texts)
    pieces = _partial_pieces(tokenizer)
    tokens = partial = 0
    for ids in encode(tokenizer, texts):
        tokens += len(ids)
        partial += sum(id_ in pieces for id_ in ids)
    characters = sum(map(len, texts))
    words = sum(map(count_words, texts))
    return {
        "vocabulary": len(tokenizer),
        "characters_per_token": round(characters / max(tokens, 1), 4),
        "tokens_per_word": round(tokens / max(words, 1), 4),
        "byte_fallback_share": round(partial / max(tokens, 1), 4),
    }


def count_words(text: str) -> int:
    """Runs of letters, marks and digits; in unspaced scripts each base character."""
    words, inside = 0, False
    for character in text:
        kind = unicodedata.category(character)[0]
        if kind == "M" or character in WORD_JOINERS:
            continue
        if UNSPACED.match(character) and kind in "LN":
            words += 1
            inside = False
        elif kind in "LN":
            words += not inside
            inside = True
        else:
            inside = False
    return words


def _partial_pieces(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Ids whose piece is a byte, or bytes that are no whole characters."""
    byte_level = "ByteLevel" in str(tokenizer.backend_tokenizer.decoder)
    letters = bytes_of_letters() if byte_level else {}
    found = set()
    for piece, id_ in tokenizer.get_vocab().items():
        if BYTE_PIECE.fullmatch(piece):
            found.add(id_)
        elif byte_level and all(letter in letters for letter in piece):
            try:
                bytes(letters[letter] for letter in piece).decode()
            except UnicodeDecodeError:
                found.add(id_)
    return found
