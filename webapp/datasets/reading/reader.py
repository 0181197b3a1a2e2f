"""Files in, rows out: first a guess of what they are, then all of their rows."""

from __future__ import annotations

import hashlib
import itertools
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

from django.utils.translation import gettext as _

from webapp.datasets.reading.containers import TEXT, Member, Source, members
from webapp.datasets.reading.documents import documents, guess_way
from webapp.datasets.reading.encoding import encoding_of, head, read_lines
from webapp.datasets.reading.figures import Figures, row_text
from webapp.datasets.reading.kinds import Dropped, guess_kind, row
from webapp.datasets.reading.problems import Problems, Record, Unreadable
from webapp.datasets.reading.tables import records

GUESSED_FROM = 200  # records or lines
INDEX_EVERY = 256  # rows


@dataclass(frozen=True)
class Options:
    """How files are read. `columns` maps roles to column names; `documents` is one of
    documents.WAYS; `encoding` empty: detected for each file, also by the `languages` that
    the text is said to be in (tags)."""

    kind: str
    columns: dict[str, str] = field(default_factory=dict)
    documents: str = "passages"
    encoding: str = ""
    languages: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As stored with a dataset version."""
        return asdict(self)


@dataclass(frozen=True)
class Guess:
    """What files seem to be: the options to read them with, all columns that there are,
    the encoding of the first file and its first records as they stand."""

    options: Options
    available: list[str]
    encoding: str
    sample: list[Record]

    def as_dict(self) -> dict[str, Any]:
        """As stored with a dataset version."""
        return json.loads(json.dumps(asdict(self), default=str))


@dataclass(frozen=True)
class Reading:
    """What came of reading: hash and size of the rows, statistics, problems."""

    sha256: str
    rows_bytes: int
    figures: Figures
    problems: Problems
    index: array[int]  # where in the rows file every INDEX_EVERY-th row begins, bytes


def guess(
    sources: list[Source], encoding: str = "", languages: Sequence[str] = ()
) -> Guess:
    """Kind, columns and encoding (unless given), from the first file that can be read;
    `languages` are the tags of what it is said to be written in.

    Raises Unreadable with the reason of the first file where none can.
    """
    refusal: Unreadable | None = None
    problems = Problems()
    for source in sources:
        try:
            for member in members(source):
                chosen = _encoding(member, encoding, languages)
                found = _guess_member(member, chosen, problems)
                if found is not None:
                    return found
        except Unreadable as problem:
            refusal = refusal or problem
    raise refusal or Unreadable(_why_nothing(problems), problems)


def _guess_member(member: Member, encoding: str, problems: Problems) -> Guess | None:
    with member.open() as stream:
        if member.suffix in TEXT:
            found = read_lines(stream, member.name, problems, encoding)
            lines = _first(found, GUESSED_FROM * 5)
            if not any(line.strip() for line in lines):
                return None
            if _is_tabbed(lines):
                sample = [
                    dict(zip(("source", "target"), line.split("\t"), strict=False))
                    for line in lines
                ]
                options = Options("parallel", {"source": "source", "target": "target"})
                return Guess(options, ["source", "target"], encoding, sample[:10])
            options = Options("monolingual", {"text": "text"}, guess_way(lines))
            return Guess(
                options, ["text"], encoding, [{"text": line} for line in lines[:10]]
            )
        found = records(stream, member.suffix, member.name, problems, encoding)
        sample = _first(found, GUESSED_FROM)
    if not sample:
        return None
    kind, columns = guess_kind(sample)
    return Guess(Options(kind, columns), list(sample[0]), encoding, sample[:10])


def _encoding(member: Member, chosen: str, languages: Sequence[str]) -> str:
    """The encoding of a file: as a person chose, or detected. Empty for Parquet.

    Raises Unreadable where it is no text in any.
    """
    if member.suffix == ".parquet":
        return ""
    with member.open() as stream:
        return encoding_of(member.name, head(stream)[0], languages, chosen)


def _first(found: Iterator[tuple[int, Any]], most: int) -> list[Any]:
    """The first ones without their numbers; fewer where the file breaks in them."""
    sample = []
    try:
        for _number, one in itertools.islice(found, most):
            sample.append(one)
    except Unreadable:
        if not sample:
            raise
    return sample


def _is_tabbed(lines: list[str]) -> bool:
    """Whether plain text is really pairs: one TAB with words on both sides."""
    full = [line for line in lines if line.strip()]
    pairs = [
        line
        for line in full
        if line.count("\t") == 1 and all(map(str.strip, line.split("\t")))
    ]
    return len(pairs) >= 0.95 * len(full) > 0


def read(
    sources: list[Source],
    options: Options,
    out: BinaryIO,
    report: Callable[[Figures], None] = lambda figures: None,
) -> Reading:
    """Write every row of the files to `out` as JSON lines.

    A file that cannot be read, or not to its end, is noted and the others are kept.
    `report` is called again and again while rows go by. Raises Unreadable where no row
    came out of any file.
    """
    figures, problems, digest = Figures(), Problems(), hashlib.sha256()
    size, index = 0, array("Q")
    for source in sources:
        try:
            for member in members(source, problems.files):
                for made in _rows(member, options, problems):
                    line = json.dumps(made, ensure_ascii=False).encode() + b"\n"
                    if figures.documents % INDEX_EVERY == 0:
                        index.append(size)
                        report(figures)
                    out.write(line)
                    digest.update(line)
                    size += len(line)
                    figures.add(made)
        except Unreadable as problem:
            problems.files.append(problem.sentence)
    if not figures.documents:
        raise Unreadable(_why_nothing(problems), problems)
    return Reading(digest.hexdigest(), size, figures, problems, index)


def _rows(member: Member, options: Options, problems: Problems) -> Iterator[Record]:
    encoding = _encoding(member, options.encoding, options.languages)
    with member.open() as stream:
        if member.suffix in TEXT:
            lines = read_lines(stream, member.name, problems, encoding)
            found = _text_records(lines, member, options, problems)
            columns = {"text": "text"}
            if options.kind == "parallel":
                columns = {"source": "source", "target": "target"}
        else:
            found = records(stream, member.suffix, member.name, problems, encoding)
            first = list(itertools.islice(found, 1))
            columns = _columns_here([record for _, record in first], options)
            found = itertools.chain(first, found)
        for number, record in found:
            try:
                made = row(record, options.kind, columns)
                row_text(made).encode()
            except Dropped as reason:
                problems.add(str(reason), member.name, number, _excerpt(record))
            except KeyError as role:
                reason = _("no column is chosen for %(role)s") % {"role": role}
                problems.add(reason, member.name, number, _excerpt(record))
            except UnicodeEncodeError:
                # Half of a surrogate pair cannot be written as UTF-8.
                problems.add(_("holds half of a character"), member.name, number)
            else:
                yield made


def _text_records(
    lines: Iterator[tuple[int, str]],
    member: Member,
    options: Options,
    problems: Problems,
) -> Iterator[tuple[int, Record]]:
    if options.kind == "parallel":
        return _pairs(lines, member.name, problems)
    texts = documents(lines, options.documents)
    return ((number, {"text": text}) for number, text in texts)


def _columns_here(first: list[Record], options: Options) -> dict[str, str]:
    """The chosen columns; in a file that has none of them, those that play their part."""
    nested = any(isinstance(v, dict) for record in first for v in record.values())
    if nested or not first or set(options.columns.values()) & set(first[0]):
        return options.columns
    kind, columns = guess_kind(first)
    return columns if kind == options.kind else options.columns


def _excerpt(record: Record) -> str:
    return " · ".join(str(value)[:100] for value in record.values())[:200]


def _pairs(
    lines: Iterator[tuple[int, str]], name: str, problems: Problems
) -> Iterator[tuple[int, Record]]:
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) == 2:
            yield number, {"source": cells[0], "target": cells[1]}
        elif line.strip():
            problems.add(_("is not two texts with a TAB between"), name, number, line)


def _why_nothing(problems: Problems) -> str:
    if problems.files:
        return " ".join(problems.files[:3])
    if problems.counts:
        reason, count = problems.counts.most_common(1)[0]
        where = problems.first[0]
        sentence = _(
            "None of the rows could be used. %(count)d of them: %(reason)s (the first: "
            "%(file)s, line %(line)d)."
        )
        return sentence % {"count": count, "reason": reason, **where}
    return _("The files are empty.")
