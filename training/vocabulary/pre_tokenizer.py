"""Keep combining marks with their letters where a pre-tokenizer tears them off.

GPT-2's, Llama 3's and Qwen's patterns find words by letters (\\p{L}+): vowel signs of the
scripts of India, Thai vowels and tone marks, Arabic points are marks (\\p{M}), so that a
word is cut at each and no piece can reach across. Only the marks of the target's own
scripts are added to the letters: text in other scripts is cut exactly as before.
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
NON_JOINER = "\u200c"


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
        if character in SYLLABLE_ENDS or character == NON_JOINER:
            found.add(character)
        elif unicodedata.category(character)[0] == "M":
            found.add(character)
            if kind_of(character) != NEUTRAL:
                found.update(_marks_by_script().get(kind_of(character), ()))
    return "".join(sorted(found))


@cache
def _marks_by_script() -> dict[str, list[str]]:
    scripts: dict[str, list[str]] = {}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character)[0] == "M":
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
    """A pattern in which `marks` count as letters wherever letters are named.

    A pattern that knows marks already (\\p{M}) stays, but for what is no mark.
    """
    if r"\p{M}" in pattern:
        marks = "".join(m for m in marks if unicodedata.category(m)[0] != "M")
        if not marks or LETTER not in pattern:
            return pattern
    listed = "".join(re.escape(mark) for mark in marks)
    wider, inside, at = [], False, 0
    while at < len(pattern):
        if pattern.startswith(LETTER, at):
            wider.append(LETTER + listed if inside else f"[{LETTER}{listed}]")
            at += len(LETTER)
            continue
        if pattern[at] == "\\":
            wider.append(pattern[at : at + 2])
            at += 2
            continue
        inside = pattern[at] == "[" or (inside and pattern[at] != "]")
        wider.append(pattern[at])
        at += 1
    return "".join(wider)
