"""Keep combining marks with their letters where a pre-tokenizer tears them off.

GPT-2's, Llama 3's and Qwen's patterns find words by letters (\\p{L}+): vowel signs of the
scripts of India, Thai vowels and tone marks, Arabic points are marks (\\p{M}), so that a
word is cut at each and no piece can reach across. So are joiners inside of words, and
the tsheg. What the pattern cuts at a mark of the target's own scripts is glued together
again: cuts go, none comes, and where a text has no such mark it is cut as before.
"""

from __future__ import annotations

import copy
import re
import sys
import unicodedata
from collections import Counter
from functools import cache
from typing import Any

from training.vocabulary.pieces import NEUTRAL, SYLLABLE_ENDS, kind_of

# ByteLevel's own pattern, from the tokenizers library (GPT-2's).
GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
LETTER = r"\p{L}"
# Zero-width joiner and non-joiner stand inside of words (Sinhala, Hindi, Persian).
ZERO_WIDTH = frozenset("\u200c\u200d")
WORD = r"\p{L}\p{M}"
# What `_glue` makes of a pattern: the pattern and the marks.
GLUED = re.compile(r"\(\?:(.+)\)\(\?:\(\?:\(\?<=\[\\p{L}\\p{M}([^]]+)\]\).+", re.DOTALL)


def keep_marks(
    plain: dict[str, Any], characters: Counter[str], least: int
) -> tuple[dict[str, Any], str]:
    """A tokenizer.json whose words keep these characters' marks, and the marks added.

    `characters` counts the target text; a mark counts from `least` occurrences. The
    JSON comes back as it was where it cuts no marks off or has none of these patterns.
    """
    marks = marks_of(characters, least)
    changed = copy.copy(plain)
    if not marks:
        return plain, ""
    changed["pre_tokenizer"], done = _widened(plain.get("pre_tokenizer"), marks)
    return (changed, marks) if done else (plain, "")


def marks_of(characters: Counter[str], least: int) -> str:
    """All marks of the scripts whose marks occur, and others that occur, sorted."""
    found: set[str] = set()
    for character, count in characters.items():
        if count < least:
            continue
        if character in SYLLABLE_ENDS or character in ZERO_WIDTH:
            found.add(character)
        elif _is_mark(character):
            found.add(character)
            if kind_of(character) != NEUTRAL:
                found.update(_marks_by_script().get(kind_of(character), ()))
    return "".join(sorted(found))


def _is_mark(character: str) -> bool:
    """Whether this is a mark of writing: not one of emoji, a frame or a variation."""
    if unicodedata.category(character) not in ("Mn", "Mc"):
        return False
    return not unicodedata.name(character, "").startswith("VARIATION SELECTOR")


@cache
def _marks_by_script() -> dict[str, list[str]]:
    scripts: dict[str, list[str]] = {}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if _is_mark(character):
            scripts.setdefault(kind_of(character), []).append(character)
    return scripts


def _widened(part: dict[str, Any] | None, marks: str) -> tuple[Any, bool]:
    """A pre-tokenizer's JSON with wider patterns, and whether anything changed."""
    if part is None:
        return None, False
    if part["type"] == "Sequence":
        results = [_widened(inner, marks) for inner in part["pretokenizers"]]
        inner = [result for result, _ in results]
        return {**part, "pretokenizers": inner}, any(done for _, done in results)
    if part["type"] == "Split" and "Regex" in part["pattern"]:
        pattern = part["pattern"]["Regex"]
        wider = widen(pattern, marks)
        return {**part, "pattern": {"Regex": wider}}, wider != pattern
    if part["type"] == "ByteLevel" and part.get("use_regex", True):
        # A space in front would come before every word once the pattern stands apart.
        if part.get("add_prefix_space"):
            return part, False
        split = {
            "type": "Split",
            "pattern": {"Regex": widen(GPT2_PATTERN, marks)},
            "behavior": "Isolated",
            "invert": False,
        }
        bytes_only = {**part, "use_regex": False}
        return {"type": "Sequence", "pretokenizers": [split, bytes_only]}, True
    return part, False


def widen(pattern: str, marks: str) -> str:
    """A pattern that finds what this one finds, glued together at `marks`.

    A find goes on where a letter or mark stands before a mark, or a mark before a
    letter, as often as it does. A pattern that knows marks already (\\p{M}) is glued at
    what is no mark, one that names no letters not at all, and one that was glued before
    at its former marks too.
    """
    glued = GLUED.fullmatch(pattern)
    if glued and _glue(*glued.groups()) == pattern:
        pattern, before = glued.groups()
        marks = "".join(sorted({*before, *marks}))
    if r"\p{M}" in pattern:
        marks = "".join(m for m in marks if unicodedata.category(m)[0] != "M")
    return _glue(pattern, marks) if marks and LETTER in pattern else pattern


def _glue(pattern: str, marks: str) -> str:
    before = rf"(?<=[{WORD}{marks}])(?=[{marks}])"
    after = rf"(?<=[{marks}])(?={LETTER})"
    return f"(?:{pattern})(?:(?:{before}|{after})(?:{pattern}))*"
