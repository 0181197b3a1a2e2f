"""Pages of a version's rows, and a search in them, read straight from the rows file.

Beside the rows lies an index of where every INDEX_EVERY-th row begins, so that page
40,000 costs as much as page 1. A search reads on from a row and stops after a second, to
be continued from where it stopped.
"""

from __future__ import annotations

import json
import time
import unicodedata
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from django.core.files.storage import default_storage

from webapp.core import files
from webapp.datasets.models import DatasetVersion
from webapp.datasets.reading.reader import INDEX_EVERY

PAGE_ROWS = 20
SEARCH_SECONDS = 1.0
SHOWN_CHARACTERS = 2_000


@dataclass(frozen=True)
class Side:
    """One text of a row, as it is shown. `role` is empty where a row is one text."""

    role: str
    text: str
    tag: str
    direction: str
    cut: bool  # there is more than SHOWN_CHARACTERS


@dataclass(frozen=True)
class Row:
    """One row by its number, from 1."""

    number: int
    sides: list[Side]


@dataclass(frozen=True)
class Rows:
    """Some rows. `following` is the number to go on from; None at the end. `looked_at`
    is the number of the last row that was read."""

    rows: list[Row]
    following: int | None
    looked_at: int


def rows_from(version: DatasetVersion, first: int, query: str, tags: list[str]) -> Rows:
    """PAGE_ROWS rows from row `first` on, only those that hold `query` if given."""
    found: list[Row] = []
    number, ends = first - 1, time.monotonic() + SEARCH_SECONDS
    wanted = _folded(query)
    with files.as_local(version.rows_file) as path, path.open("rb") as file:
        number, lines = _from_row(version, file, max(1, first))
        for line in lines:
            if len(found) == PAGE_ROWS or (wanted and time.monotonic() > ends):
                return Rows(found, number + 1, number)
            number += 1
            row = json.loads(line)
            if wanted and not any(wanted in _folded(text) for text in _texts(row)):
                continue
            found.append(Row(number, sides(row, tags)))
    return Rows(found, None, number)


def _from_row(
    version: DatasetVersion, file: BinaryIO, first: int
) -> tuple[int, Iterator[bytes]]:
    """The number before `first` (or the last) and the lines from there on."""
    number = 0
    index = f"{version.rows_file}.index"
    with files.as_local(index) as path:
        offsets = _offsets(path)
    if place := min((first - 1) // INDEX_EVERY, len(offsets) - 1):
        file.seek(offsets[place])
        number = place * INDEX_EVERY
    while number < first - 1 and file.readline():
        number += 1
    return number, iter(file)


def _offsets(path: Path) -> array[int]:
    offsets = array("Q", [0])
    if path.is_file():
        offsets = array("Q")
        offsets.frombytes(path.read_bytes())
    return offsets


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _texts(row: dict[str, Any]) -> Iterator[str]:
    for value in row.values():
        if isinstance(value, str):
            yield value
        else:
            yield from (message["content"] for message in value)


def stored_blocks(name: str) -> Iterator[bytes]:
    """A stored file in pieces of a megabyte."""
    with default_storage.open(name) as file:
        while block := file.read(1024**2):
            yield block


def sides(row: dict[str, Any], tags: list[str]) -> list[Side]:
    """A row's texts with language and direction; those of a pair have one each."""
    first = tags[0] if tags else ""
    found = []
    for name, value in row.items():
        if name == "messages":
            for message in value:
                found.append(_side(message["role"], message["content"], first))
        else:
            tag = tags[1] if name == "target" and len(tags) > 1 else first
            found.append(_side("" if name == "text" else name, value, tag))
    return found


def _side(role: str, text: str, tag: str) -> Side:
    return Side(
        role=role,
        text=text[:SHOWN_CHARACTERS],
        tag=tag,
        direction=text_direction(text),
        cut=len(text) > SHOWN_CHARACTERS,
    )


def text_direction(text: str) -> str:
    """By the first letter that has one; "auto" where none has."""
    for sign in text[:500]:
        kind = unicodedata.bidirectional(sign)
        if kind in ("R", "AL"):
            return "rtl"
        if kind == "L":
            return "ltr"
    return "auto"
