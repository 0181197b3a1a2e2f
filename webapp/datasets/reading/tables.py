"""Records (dicts of columns) out of JSON lines, JSON, CSV, TSV and Parquet.

Every record comes with its line number (Parquet: row number), from 1. A broken record
costs itself only.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from webapp.datasets.reading.encoding import read_lines
from webapp.datasets.reading.json_records import json_file, json_lines
from webapp.datasets.reading.parquet import parquet_rows
from webapp.datasets.reading.problems import Problems, Record

LONGEST_RECORD_LINES = 200  # a quoted CSV field may run over this many lines
HEADER_WORDS = {
    "text", "content", "sentence", "source", "target", "src", "tgt", "instruction",
    "input", "output", "question", "answer", "prompt", "response", "completion",
    "chosen", "rejected", "messages", "conversations", "label", "category", "id",
}  # fmt: skip

csv.field_size_limit(16 * 1024**2)


def records(
    stream: BinaryIO, suffix: str, name: str, problems: Problems, encoding: str | None
) -> Iterator[tuple[int, Record]]:
    """The records of one file by its format."""
    if suffix == ".parquet":
        yield from parquet_rows(stream, name)
        return
    lines = read_lines(stream, name, problems, encoding)
    if suffix in (".csv", ".tsv", ".tab"):
        yield from _table(lines, name, problems, tabs=suffix != ".csv")
    elif suffix == ".json":
        yield from json_file(lines, name, problems)
    else:
        yield from json_lines(lines, name, problems)


def _table(
    lines: Iterable[tuple[int, str]], name: str, problems: Problems, *, tabs: bool
) -> Iterator[tuple[int, Record]]:
    lines = iter(lines)
    head = [pair for pair in itertools.islice(lines, 200)]
    separator = "\t" if tabs else _separator([line for _, line in head])
    rows = _split(
        itertools.chain(head, lines), separator, name, problems, quotes=not tabs
    )
    first = next(rows, None)
    if first is None:
        return
    columns = header_of(first[1])
    if columns is None:
        columns = [
            _("column %(number)d") % {"number": number}
            for number in range(1, len(first[1]) + 1)
        ]
        rows = itertools.chain([first], rows)
    for number, cells in rows:
        if len(cells) != len(columns):
            problems.add(
                ngettext(
                    "has %(count)d column instead of %(wanted)d",
                    "has %(count)d columns instead of %(wanted)d",
                    len(cells),
                )
                % {"count": len(cells), "wanted": len(columns)},
                name,
                number,
                separator.join(cells),
            )
            continue
        yield number, dict(zip(columns, cells, strict=True))


def _split(
    lines: Iterable[tuple[int, str]],
    separator: str,
    name: str,
    problems: Problems,
    *,
    quotes: bool,
) -> Iterator[tuple[int, list[str]]]:
    """Cells; a quoted cell may run over several lines. A quotation mark that is never
    closed costs the line it stands on, not the rest of the file."""
    source = iter(lines)
    again: deque[tuple[int, str]] = deque()  # lines given back by a mark never closed
    while True:
        pair = again.popleft() if again else next(source, None)
        if pair is None:
            return
        number, line = pair
        if not line.strip():
            continue
        if not quotes or '"' not in line:
            yield number, line.split(separator)
            continue
        # A mark inside an unquoted cell (5" pipe) opens nothing: strict reading passes.
        if line.count('"') % 2 == 0 or _cells([line], separator) is not None:
            yield number, _cells([line], separator, strict=False) or []
            continue
        record, open_ = [pair], True
        while open_ and len(record) < LONGEST_RECORD_LINES:
            following = again.popleft() if again else next(source, None)
            if following is None:
                break
            record.append(following)
            open_ = following[1].count('"') % 2 == 0
        cells = None
        if not open_:
            cells = _cells([text + "\n" for _, text in record], separator)
        if cells is None:
            problems.add(_("a quotation mark is not closed"), name, number, line)
            again.extendleft(reversed(record[1:]))
        else:
            yield number, cells


def _cells(lines: list[str], separator: str, strict: bool = True) -> list[str] | None:
    """The cells of one record; None where its quotation marks do not fit."""
    reader = csv.reader(lines, delimiter=separator, strict=strict)
    try:
        cells = next(reader)
        return cells if next(reader, None) is None else None
    except (csv.Error, StopIteration):
        return None


def _separator(lines: list[str]) -> str:
    """The one of , ; tab | that cuts most lines into the same number of cells."""
    plain = [re.sub(r'"[^"]*"', "", line) for line in lines if line.strip()]

    def score(separator: str) -> tuple[int, int]:
        counts = [line.count(separator) for line in plain]
        usual = max(set(counts), key=counts.count) if counts else 0
        return (counts.count(usual) if usual else 0, usual)

    return max(",;\t|", key=score)


def header_of(cells: list[str]) -> list[str] | None:
    """The cells as column names, or None where they look like data."""
    names = [cell.strip() for cell in cells]
    short = all(name and len(name) <= 40 and len(name.split()) <= 3 for name in names)
    if not short or len(set(names)) != len(names):
        return None
    if any(_is_header_word(name) for name in names):
        return names
    # Language names or tags for headers; a word that happens to be a tag ("mji") is
    # data unless every cell is one.
    return names if all(is_language(name) for name in names) else None


def _is_header_word(name: str) -> bool:
    word = name.lower().replace(" ", "_")
    return word in HEADER_WORDS or any(part in HEADER_WORDS for part in word.split("_"))


def is_language(name: str) -> bool:
    """Whether a column's name is a language's name or tag."""
    import langcodes

    try:
        if len(name) <= 11 and langcodes.Language.get(name).is_valid():
            return True
    except (LookupError, ValueError):
        pass
    try:
        return bool(langcodes.find(name))
    except LookupError:
        return False
