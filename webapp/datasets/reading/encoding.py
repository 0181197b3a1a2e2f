"""Bytes to lines: the encoding is detected, a broken line costs only itself."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from django.utils.translation import gettext as _

from webapp.datasets.reading.problems import Problems, Unreadable
from webapp.datasets.reading.strangers import refuse_binary, refuse_strangers

SAMPLE = 1024**2  # bytes looked at to detect an encoding
HEAD_BLOCK = 8 * 1024  # bytes; what comes before a break in a packed file is kept
LONGEST_LINE = 16 * 1024**2  # bytes; a longer "line" is not a line
BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Code pages of Windows for languages in Latin letters; all others have WINDOWS-1252. No
# statistics tell these pages apart in a short text (every byte is some letter in each),
# and people say which language it is.
LATIN_PAGES = {
    "cp1250": "bs cs csb dsb hr hsb hu pl ro sk sl sr szl",
    "cp1254": "az crh gag ku tr",
    "cp1257": "et ltg lt lv sgs",
    "cp1258": "vi",
}
PAGE_OF = {tag: page for page, tags in LATIN_PAGES.items() for tag in tags.split()}
LATIN_GUESS = ("cp125", "iso8859", "latin", "mac", "cp437", "cp85", "hp_roman8")
LATIN_LETTERS = 0.5  # share of ASCII among the letters of text in Latin writing
# Bytes below the space that text does not hold (tab and line ends it does).
CONTROLS = bytes(set(range(1, 32)) - {9, 10, 13})


def encoding_of(
    name: str, sample: bytes, languages: Sequence[str] = (), chosen: str = ""
) -> str:
    """The encoding that a person has `chosen`, or the one detected; Unreadable where the
    file `name` holds no text at all."""
    refuse_strangers(name, sample)
    found = chosen or detect(sample, languages)
    if not found.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
        refuse_binary(name, sample)
    return found


def detect(sample: bytes, languages: Sequence[str] = ()) -> str:
    """The name of the encoding of a file that begins with `sample` and, by what people
    say, is in `languages` (tags)."""
    for mark, name in BOMS:
        if sample.startswith(mark):
            return name
    if wide := _wide(sample[: 64 * 1024]):
        return wide
    lines = sample.split(b"\n")
    if len(lines) > 1:
        lines.pop()  # the last may be cut
    broken = sum(1 for line in lines if not _is_utf8(line, cut=len(lines) == 1))
    # A legacy encoding breaks nearly every line that has a letter beyond ASCII; a UTF-8
    # file with some damage breaks few of those.
    beyond_ascii = sum(1 for line in lines if not line.isascii())
    if broken == 0 or broken <= beyond_ascii * 0.2:
        return "utf-8"
    from charset_normalizer import from_bytes

    best = from_bytes(sample[:200_000]).best()
    if best and best.encoding.startswith(LATIN_GUESS) and _is_latin(sample):
        return latin_page(languages)
    return best.encoding if best else "utf-8"


def latin_page(languages: Sequence[str]) -> str:
    """The code page in which a language in Latin letters was written before UTF-8."""
    pages = [PAGE_OF.get(tag.split("-")[0], "cp1252") for tag in languages]
    return next((page for page in pages if page != "cp1252"), "cp1252")


def _is_latin(sample: bytes) -> bool:
    """Whether letters are mostly ASCII, as they are in every Latin writing."""
    plain = sum(1 for byte in sample if chr(byte).isascii() and chr(byte).isalpha())
    beyond = sum(1 for byte in sample if byte >= 0x80)
    return plain > LATIN_LETTERS * (plain + beyond)


def _wide(sample: bytes) -> str | None:
    """UTF-16 without a mark.

    Text of a script beyond Latin has few NUL bytes (spaces, line ends), but its other
    halves are control characters of ASCII. A damaged UTF-8 file has neither.
    """
    zeros = sample.count(0)
    if zeros < 1 or zeros < len(sample) / 500:
        return None
    controls = sum(sample.count(byte) for byte in CONTROLS)
    if zeros < len(sample) / 8 and controls < len(sample) / 500:
        return None
    cut = sample[: len(sample) // 2 * 2]

    def strange(name: str) -> tuple[float, int]:
        text = cut.decode(name, "replace")[:-1]
        blank = sum(text.count(sign) for sign in "\n ")
        bad = sum(1 for sign in text if not (sign.isprintable() or sign in "\r\n\t"))
        return (bad + text.count("\ufffd")) / max(1, len(text)), -blank

    best = min(("utf-16-le", "utf-16-be"), key=strange)
    return best if strange(best)[0] <= 0.02 else None


def _is_utf8(line: bytes, cut: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(line, final=not cut)
    except UnicodeDecodeError:
        return False
    return True


def read_lines(
    stream: BinaryIO, name: str, problems: Problems, encoding: str | None = None
) -> Iterator[tuple[int, str]]:
    """Pairs of line number (from 1) and line without its end.

    A line that cannot be decoded, or holds NUL, is dropped with a note.
    """
    stream = stream if hasattr(stream, "peek") else io.BufferedReader(stream)  # type: ignore[type-var]
    sample = _Peek(stream)
    chosen = encoding or detect(sample.head)
    if chosen == "utf-8" and sample.head.startswith(codecs.BOM_UTF8):
        chosen = "utf-8-sig"
    old_mac = b"\r" in sample.head and b"\n" not in sample.head
    if chosen.startswith(("utf-16", "utf-32")) or old_mac:
        yield from _wide_lines(sample, chosen, name, problems)
        return
    number = 0
    while line := sample.readline(LONGEST_LINE):
        number += 1
        if len(line) >= LONGEST_LINE and not line.endswith(b"\n"):
            problems.add(_("a line of more than 16 MB"), name, number)
            while (rest := sample.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            continue
        try:
            text = line.decode(chosen if number == 1 else chosen.removesuffix("-sig"))
        except UnicodeDecodeError:
            reason = _("not readable as %(encoding)s") % {"encoding": chosen.upper()}
            problems.add(reason, name, number)
            continue
        text = text.rstrip("\r\n")
        if "\0" in text:
            problems.add(_("holds a NUL character"), name, number)
            continue
        yield number, text


def head(stream: BinaryIO, size: int = SAMPLE) -> tuple[bytes, Unreadable | None]:
    """The first bytes of a stream, and what stopped it if it broke in them."""
    blocks, got = [], 0
    try:
        while got < size and (block := stream.read(min(HEAD_BLOCK, size - got))):
            blocks.append(block)
            got += len(block)
    except Unreadable as problem:
        return b"".join(blocks), problem
    return b"".join(blocks), None


class _Peek:
    """A stream whose first SAMPLE bytes are known before it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self.head, self.broke = head(stream)
        self.stream = stream
        self.buffer = io.BytesIO(self.head)

    def readline(self, limit: int) -> bytes:
        """As a file's."""
        line = self.buffer.readline(limit)
        if line.endswith(b"\n") or len(line) >= limit:
            return line
        if self.broke:
            raise self.broke
        return line + self.stream.readline(limit - len(line))

    def read(self, size: int) -> bytes:
        """As a file's."""
        if block := self.buffer.read(size):
            return block
        if self.broke:
            raise self.broke
        return self.stream.read(size)


def _wide_lines(
    stream: _Peek, encoding: str, name: str, problems: Problems
) -> Iterator[tuple[int, str]]:
    """Lines of an encoding whose bytes cannot be cut at 0x0A, or that end in CR alone."""
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(encoding)(), translate=True
    )
    number, rest, ended = 0, "", False
    while not ended:
        block = stream.read(SAMPLE)
        ended = not block
        try:
            rest += decoder.decode(block, final=ended)
        except UnicodeDecodeError as problem:
            raise Unreadable(
                _(
                    "%(name)s: after line %(line)d the file is not %(encoding)s any more. "
                    "What came before was kept."
                )
                % {"name": name, "line": number, "encoding": encoding.upper()}
            ) from problem
        *lines, rest = rest.split("\n")
        if ended and rest:
            lines.append(rest)
        for line in lines:
            number += 1
            if "\0" in line:
                problems.add(_("holds a NUL character"), name, number)
            else:
                yield number, line
        if len(rest) > LONGEST_LINE:
            raise Unreadable(
                _("%(name)s: line %(line)d is longer than 16 MB.")
                % {"name": name, "line": number + 1}
            )
