"""Cutting long texts, and joining short ones, without losing a character."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# Best boundary first: paragraph, line, sentence (also full stops of Devanagari, CJK,
# Arabic, Tibetan, Ethiopic, Khmer and Myanmar), word. The boundary stays with the left
# part.
BOUNDARIES = tuple(
    re.compile(pattern)
    for pattern in (
        r"\n\s*\n",
        r"\n",
        r"[.!?…]+[\"'”»)\]]*\s+|[।॥။។።。！？؟۔]+\s*|།+\s*",
        r"\s+|་",
    )
)


def cut(text: str, limit: int) -> Iterator[str]:
    """Parts of at most `limit` characters whose concatenation is `text`."""
    start = 0
    while len(text) - start > limit:
        end = start + _boundary(text[start : start + limit])
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _boundary(window: str) -> int:
    """Where to cut: after the last good boundary in the second half of `window`."""
    half = len(window) // 2
    for pattern in BOUNDARIES:
        ends = [match.end() for match in pattern.finditer(window, half)]
        if ends:
            return ends[-1]
    return len(window)


def passages(
    texts: Iterable[str], *, limit: int, short: int
) -> Iterator[tuple[str, bool]]:
    """Texts of at most `limit` characters and whether each one ends its document.

    A longer text is cut. Neighbouring texts shorter than `short` are joined by line
    ends, up to four times that (and `limit`): files with a sentence a line are running
    text, and a model that only ever sees single sentences does not learn to go on.
    """
    run = min(limit, 4 * short)
    joined: list[str] = []
    size = 0
    for text in texts:
        if joined and (len(text) >= short or size + 1 + len(text) > run):
            yield "\n".join(joined), True
            joined, size = [], 0
        if len(text) < short and len(text) <= run:
            size += len(text) + bool(joined)
            joined.append(text)
            continue
        parts = list(cut(text, limit))
        for number, part in enumerate(parts, 1):
            yield part, number == len(parts)
    if joined:
        yield "\n".join(joined), True
