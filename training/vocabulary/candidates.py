"""Which candidates for new pieces are junk, and why each is refused.

Web text and scanned books carry residue that frequency alone would make into tokens:
mojibake, names of glyphs, markup, addresses (GlossAPI removed 69 to 104 such tokens of
17,000 by hand). A refused pair is never merged, so that no kept merge is built on one,
and the next most frequent takes its place.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from training.vocabulary.pieces import (
    BARRIER,
    JOINERS,
    NEUTRAL,
    PUNCTUATION,
    is_wanted,
    kind_of,
)

REPLACEMENT = "\ufffd"
# UTF-8 read as an 8-bit code page: in the Western one any sequence tells, in the
# Cyrillic one two letters, both led by the letters that stand for 0xD0 and 0xD1, since
# a Ukrainian word may hold one such pair by right.
WESTERN, CYRILLIC = "cp1252", "cp1251"
CYRILLIC_LEADS = frozenset("РС")
# Spans of text that are no language, and what a text must hold to be looked at.
RESIDUE: dict[str, tuple[tuple[str, ...], re.Pattern[str]]] = {
    "url": (
        ("://", "www."),
        re.compile(r"(?:https?://|ftp://|www\.)[!-~]+"),
    ),
    "address": (("@",), re.compile(r"[\w.+-]+@[A-Za-z0-9-]+\.[A-Za-z0-9.-]+")),
    "markup": (
        ("<", "&"),
        re.compile(
            r"</?[A-Za-z][^<>]{0,500}>|&(?:#\d{1,6}|#x[0-9a-fA-F]{1,5}|[A-Za-z]{2,8});"
        ),
    ),
    "glyph_name": (
        ("(cid:", "/uni", "/g", "afii", "glyph"),
        re.compile(
            r"\(cid:\d{1,6}\)|/uni[0-9A-F]{4,6}|/g\d{1,5}\b|\bafii\d{4,6}|\bglyph\d+"
        ),
    ),
}


def without_residue(text: str) -> tuple[str, Counter[str]]:
    """The text with a space for every URL, address, markup and glyph name, and how many
    of each there were."""
    found: Counter[str] = Counter()
    for name, (signs, pattern) in RESIDUE.items():
        if any(sign in text for sign in signs):
            text, count = pattern.subn(" ", text)
            if count:
                found[name] += count
    return text, found


def reason(text: str, maximum_characters: int) -> str:
    """Why a piece with this text is refused, "" where it may be added."""
    if REPLACEMENT in text:
        return "replacement_character"
    if is_mojibake(text):
        return "mojibake"
    body = text.removeprefix(" ")
    categories = {unicodedata.category(c) for c in body if c not in JOINERS}
    if "Co" in categories:
        return "private_use"
    if any(category[0] == "C" for category in categories):
        return "control"
    if any(category[0] == "N" for category in categories):
        return "digits"
    if is_wanted(text, maximum_characters):
        return ""
    kinds = {kind_of(character) for character in body} - {NEUTRAL}
    if len(kinds - {PUNCTUATION, BARRIER}) > 1:
        return "mixed_scripts"
    if any(character.isspace() for character in body):
        return "space_inside"
    if PUNCTUATION in kinds and len(kinds) > 1:
        return "punctuation"
    return "too_long" if len(text) > maximum_characters else "joiner_first"


@lru_cache(maxsize=65_536)
def is_mojibake(text: str) -> bool:
    """Whether a piece holds UTF-8 that was read as an 8-bit code page.

    A Latin piece: its bytes in the Western code page hold a whole UTF-8 sequence. A
    Cyrillic piece: its bytes in the Cyrillic code page are UTF-8 for two characters or
    more, each of the range U+0400 to U+047F.
    """
    if text.isascii():
        return False
    body = text.strip()
    if _as_utf8(body, WESTERN) is not None:
        return True
    if len(body) < 4 or not CYRILLIC_LEADS.issuperset(body[::2]):
        return False
    meant = _as_utf8(body, CYRILLIC)
    return meant is not None and all("\u0400" <= c <= "\u047f" for c in meant)


def _as_utf8(text: str, code_page: str) -> str | None:
    """What the text's bytes in a code page say as UTF-8, None where they say nothing or
    the same."""
    try:
        meant = text.encode(code_page).decode()
    except UnicodeError:
        return None
    return meant if meant != text else None
