"""Plain text to documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

# A passage gives a model some context without gluing a whole file together.
PASSAGE_CHARACTERS = 2_000
# Blocks shorter than this on average are paragraphs of something longer.
BLOCK_CHARACTERS = 500
LONGEST_DOCUMENT = 1_000_000  # characters; longer ones are cut at a line

# How lines make documents; what people read of each: webapp/datasets/words.py.
WAYS = ("blank_lines", "lines", "passages")


def guess_way(lines: list[str]) -> str:
    """How the lines of a file make documents, judged from its first lines."""
    full = [line for line in lines if line.strip()]
    if not full:
        return "passages"
    characters = sum(map(len, full))
    if characters / len(full) >= 400:
        return "lines"
    filled = [bool(line.strip()) for line in lines]
    blocks = sum(
        1 for now, before in zip(filled, [False, *filled], strict=False) if now > before
    )
    if blocks > 1 and characters / blocks >= BLOCK_CHARACTERS:
        return "blank_lines"
    return "passages"


def documents(lines: Iterable[tuple[int, str]], way: str) -> Iterator[tuple[int, str]]:
    """Documents with the number of their first line."""
    started, parts, size = 1, [], 0
    for number, line in lines:
        line = line.rstrip()
        blank = not line.strip()
        full = size >= (PASSAGE_CHARACTERS if way == "passages" else LONGEST_DOCUMENT)
        ends = full or way == "lines" or (blank and way == "blank_lines")
        if parts and ends:
            yield started, "\n".join(parts)
            parts, size = [], 0
        if blank:
            continue
        if not parts:
            started = number
        parts.append(line)
        size += len(line)
    if parts:
        yield started, "\n".join(parts)
