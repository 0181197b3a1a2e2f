"""JSON lines, and JSON lists of objects, as records with their line numbers."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator

from django.utils.translation import gettext as _

from webapp.datasets.reading.problems import Problems, Record, Unreadable

LARGEST_JSON = 256 * 1024**2  # characters; a list is read whole before it is cut up
WRAPPERS = "data|rows|examples|items|records|instances|train|sentences"


def json_lines(
    lines: Iterable[tuple[int, str]], name: str, problems: Problems
) -> Iterator[tuple[int, Record]]:
    """One object a line; a line that is none costs only itself."""
    for number, line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            problems.add(_("not valid JSON"), name, number, line)
            continue
        if isinstance(value, str):
            value = {"text": value}
        if not isinstance(value, dict):
            problems.add(_("not a JSON object"), name, number, line)
            continue
        yield number, value


def json_file(
    lines: Iterable[tuple[int, str]], name: str, problems: Problems
) -> Iterator[tuple[int, Record]]:
    """A list of objects, or JSON lines under the name .json."""
    lines = iter(lines)
    first = next(((n, line) for n, line in lines if line.strip()), None)
    if first is None:
        return
    if _is_record(first[1]):
        yield from json_lines(itertools.chain([first], lines), name, problems)
        return
    parts, size = [first[1]], len(first[1])
    for _number, line in lines:
        parts.append(line)
        size += len(line)
        if size > LARGEST_JSON:
            raise Unreadable(
                _(
                    "%(name)s: a JSON list of more than 256 MB cannot be read. Save it as "
                    "JSON lines (.jsonl), one object a line."
                )
                % {"name": name}
            )
    text = "\n".join(parts)
    del parts
    begins = _list_begins(text)
    if begins is None:
        raise Unreadable(f"{name}: {_why_no_list(text)}")
    yield from _items(text, begins, first[0], name, problems)


def _is_record(line: str) -> bool:
    """Whether a line is an object by itself, and no wrapping of a list."""
    if not line.lstrip().startswith("{") or _list_begins(line) is not None:
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _list_begins(text: str) -> int | None:
    """Where the items begin: of a list, or of one inside {"data": [...]}."""
    found = re.match(rf'\s*(?:\{{\s*"(?:{WRAPPERS})"\s*:\s*)?\[', text)
    return found.end() if found else None


def _why_no_list(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as problem:
        return _("not valid JSON: %(problem)s.") % {"problem": problem}
    return _("expected a list of objects.")


def _items(
    text: str, place: int, number: int, name: str, problems: Problems
) -> Iterator[tuple[int, Record]]:
    """The items of a JSON list with the line each begins on. A break in the middle
    ends the file; what came before is kept."""
    decode, blank = json.JSONDecoder().raw_decode, re.compile(r"[\s,]*")
    counted = 0
    while True:
        place = blank.match(text, place).end()  # type: ignore[union-attr]
        number += text.count("\n", counted, place)
        counted = place
        if text.startswith("]", place):
            return
        try:
            value, place = decode(text, place)
        except (ValueError, RecursionError) as problem:
            raise Unreadable(
                _(
                    "%(name)s: not valid JSON from line %(line)d on (%(problem)s). What "
                    "came before was kept."
                )
                % {"name": name, "line": number, "problem": problem}
            ) from problem
        if isinstance(value, str):
            value = {"text": value}
        if isinstance(value, dict):
            yield number, value
        else:
            problems.add(_("not a JSON object"), name, number, str(value))
