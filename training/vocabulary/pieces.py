"""What a piece of a tokenizer is as text, and which new pieces are let in.

Inside a tokenizer a piece is written in an internal form: byte-level BPE has a letter for
every byte, SentencePiece writes the space as U+2581 and a byte as <0x00>.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache, lru_cache
from typing import Any

from training.errors import BaseUnsuitable

SPACE_MARKER = "\u2581"
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")

# How a character takes part in a piece. A script's name stands for its letters and marks.
BARRIER = "barrier"  # never in a new piece beside another character
NEUTRAL = ""  # joins any script, but does not begin a piece
PUNCTUATION = "punctuation"
# Chinese characters, Hiragana and Katakana count as one script (SentencePiece's rule).
TOGETHER = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "IDEOGRAPHIC": "CJK"}
# Joiners inside words: zero-width ones, apostrophes, the middle dot of Catalan.
JOINERS = frozenset("\u200c\u200d'\u2019\u00b7")
# Marks and modifier letters that belong to no script are named by these words.
WITHOUT_SCRIPT = frozenset({"COMBINING", "MODIFIER", "VARIATION", "VEDIC"})
# The tsheg ends every Tibetan syllable: punctuation by category, part of words in use.
SYLLABLE_ENDS = frozenset("\u0f0b\u0f0c")


@cache
def byte_letters() -> dict[int, str]:
    """The letter that stands for each byte in byte-level BPE (GPT-2's table).

    Printable bytes stand for themselves, the others for the letters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, further = {}, 0x100
    for byte in range(256):
        if byte in printable:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(further)
            further += 1
    return letters


@cache
def bytes_of_letters() -> dict[str, int]:
    """The byte behind each letter of `byte_letters`."""
    return {letter: byte for byte, letter in byte_letters().items()}


class PieceForm:
    """The internal form of one tokenizer's pieces.

    `byte_level`: GPT-2's letters for bytes; else the SentencePiece form. Raises
    BaseUnsuitable for a tokenizer that is none of `kinds` or marks parts of words.
    """

    def __init__(
        self, plain: dict[str, Any], kinds: tuple[str, ...] = ("BPE",)
    ) -> None:
        model = plain["model"]
        if model.get("type") not in kinds:
            raise BaseUnsuitable(
                f"The base model's tokenizer is of the kind {model.get('type')}: only "
                "BPE tokenizers can be extended.",
                hint="Keep the tokenizer as it is, or choose another base model.",
            )
        if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
            raise BaseUnsuitable(
                "The base model's tokenizer marks word parts with a prefix or suffix: "
                "such a tokenizer cannot be extended.",
                hint="Keep the tokenizer as it is, or choose another base model.",
            )
        around = (plain.get("pre_tokenizer"), plain.get("normalizer"))
        self.byte_level = any('"ByteLevel"' in json.dumps(part) for part in around)

    def as_bytes(self, piece: str) -> bytes:
        """The bytes a piece stands for (UTF-8, perhaps parts of characters)."""
        if self.byte_level:
            table = bytes_of_letters()
            try:
                return bytes(table[letter] for letter in piece)
            except KeyError:  # an added token: plain text
                return piece.encode()
        byte = BYTE_PIECE.fullmatch(piece)
        if byte:
            return bytes([int(byte[1], 16)])
        return piece.replace(SPACE_MARKER, " ").encode()

    def as_text(self, piece: str) -> str | None:
        """The text of a piece; None where its bytes are no whole characters."""
        try:
            return self.as_bytes(piece).decode()
        except UnicodeDecodeError:
            return None

    def internal(self, text: str) -> str:
        """The piece that stands for a text: the other way round."""
        if self.byte_level:
            letters = byte_letters()
            return "".join(letters[byte] for byte in text.encode())
        return text.replace(" ", SPACE_MARKER)

    def is_bare_byte(self, piece: str) -> bool:
        """Whether this is one of SentencePiece's byte pieces, which never merge."""
        return not self.byte_level and BYTE_PIECE.fullmatch(piece) is not None


@lru_cache(maxsize=65_536)
def kind_of(character: str) -> str:
    """The script of a letter or mark, PUNCTUATION, NEUTRAL or BARRIER.

    Scripts are told by the first word of the character's Unicode name.
    """
    if character in JOINERS:
        return NEUTRAL
    if character in SYLLABLE_ENDS:
        return "TIBETAN"
    category = unicodedata.category(character)
    if category[0] in "PS":
        return BARRIER if character == "\ufffd" else PUNCTUATION
    if category[0] not in "LM":
        return BARRIER
    name = unicodedata.name(character, "").split(" ")[0]
    if not name:
        return BARRIER
    if name in WITHOUT_SCRIPT:
        return NEUTRAL
    name = name.split("-")[0]
    return TOGETHER.get(name, name)


def kind_of_text(text: str) -> str:
    """The one kind of all characters of a piece, a leading space left out.

    BARRIER where kinds mix, or a space stands anywhere but in front.
    """
    found = NEUTRAL
    for character in text[1:] if text.startswith(" ") else text:
        kind = kind_of(character)
        if kind == NEUTRAL or kind == found:
            continue
        if found != NEUTRAL or kind == BARRIER:
            return BARRIER
        found = kind
    return found


def is_wanted(text: str, maximum_characters: int) -> bool:
    """Whether a piece with this text may be added.

    No digits, controls, private or unassigned characters, no mixed scripts, no space but
    one in front, nothing that begins with a joiner, nothing longer than the maximum.
    """
    body = text[1:] if text.startswith(" ") else text
    if not body or len(text) > maximum_characters or body[0] in JOINERS:
        return False
    return kind_of_text(text) != BARRIER


def is_part_of_character(raw: bytes) -> bool:
    """Whether these bytes begin one character (after at most one space) and end in it."""
    raw = raw.removeprefix(b" ")
    if not raw or not 0xC2 <= raw[0] <= 0xF4:
        return False
    needed = 2 if raw[0] < 0xE0 else 3 if raw[0] < 0xF0 else 4
    return len(raw) < needed and all(0x80 <= byte < 0xC0 for byte in raw[1:])


def is_wanted_character(character: str) -> bool:
    """Whether a missing character may get a piece: anything one can see, digits too."""
    category = unicodedata.category(character)
    return category[0] in "LMNPS" and character != "\ufffd" or character in JOINERS
