"""Files opened as streams of bytes, through compression and archives."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from webapp.datasets.reading.problems import Unreadable
from webapp.datasets.reading.strangers import refuse_by_ending

TEXT = {".txt", ".text", ".md"}
TABLES = {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet"}
COMPRESSED = {".gz", ".zst"}
# Measured: zeros shrink 1,029:1 in gzip and 32,747:1 in zstd; text about 3:1 to 10:1.
MAXIMUM_RATIO = 200
RATIO_APPLIES_FROM = 64 * 1024**2  # bytes
MAXIMUM_MEMBERS = 10_000
# Bytes fed at once: 64 blocks at most, each of which may hold 128 KiB.
ZSTD_STEP = 256
ZSTD_WINDOW = 8 * 1024**2  # bytes; wider frames ask for memory before they give a byte


class Readable(Protocol):
    """What gives bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


@dataclass(frozen=True)
class Source:
    """One file of an upload: the person's name for it, and where it is."""

    name: str
    path: Path


@dataclass(frozen=True)
class Member:
    """One readable file: of a zip archive, or the upload itself.

    `suffix` is the format's, without the compression's.
    """

    name: str
    suffix: str
    source: Source
    inside: str | None = None

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes, decompressed, as a stream that stops a bomb."""
        with self.source.path.open("rb") as raw:
            if self.inside is None:
                yield _decompressed(raw, self.source.name, self.source.path)
                return
            with zipfile.ZipFile(raw) as archive:
                packed = archive.getinfo(self.inside).compress_size
                try:
                    stream = archive.open(self.inside)
                except (zipfile.BadZipFile, NotImplementedError, OSError) as problem:
                    raise Unreadable(
                        _(
                            "%(name)s: this part of the archive cannot be unpacked "
                            "(%(problem)s)."
                        )
                        % {"name": self.name, "problem": problem}
                    ) from problem
                with stream:
                    outer = _Limited(stream, packed, self.name)
                    yield _decompressed_stream(
                        io.BufferedReader(outer), self.name, packed
                    )


def members(source: Source, notes: list[str] | None = None) -> Iterator[Member]:
    """The readable files of an upload; raises Unreadable for a format not known.

    What is left out of an archive is said in a sentence added to `notes`.
    """
    if source.name.lower().endswith(".zip"):
        yield from _zip_members(source, notes if notes is not None else [])
        return
    suffix = format_suffix(source.name)
    if suffix not in TEXT | TABLES:
        raise refuse_by_ending(source.name, suffix)
    yield Member(source.name, suffix, source)


def format_suffix(name: str) -> str:
    """ ".csv" of "words.CSV.gz"."""
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSED:
        path = path.with_suffix("")
    return path.suffix


def _zip_members(source: Source, notes: list[str]) -> Iterator[Member]:
    entries = [
        entry
        for entry in sorted(_zip_entries(source), key=lambda entry: entry.filename)
        if not entry.is_dir()
        and not entry.filename.startswith("__MACOSX/")
        and not PurePosixPath(entry.filename).name.startswith(".")
    ]
    readable = [
        entry for entry in entries if format_suffix(entry.filename) in TEXT | TABLES
    ]
    if not readable:
        raise Unreadable(
            _("%(name)s: the archive holds no file that can be read.")
            % {"name": source.name}
        )
    if others := [entry.filename for entry in entries if entry not in readable]:
        named = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        notes.append(
            ngettext(
                "%(name)s: %(count)s of its files is of another kind and was left out "
                "(%(named)s).",
                "%(name)s: %(count)s of its files are of another kind and were left out "
                "(%(named)s).",
                len(others),
            )
            % {"name": source.name, "count": f"{len(others):,}", "named": named}
        )
    for entry in readable:
        yield Member(
            f"{source.name}/{entry.filename}",
            format_suffix(entry.filename),
            source,
            entry.filename,
        )


def _zip_entries(source: Source) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(source.path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as problem:
        raise Unreadable(
            _("%(name)s: the archive is damaged and cannot be opened (%(problem)s).")
            % {"name": source.name, "problem": problem}
        ) from problem
    if len(entries) > MAXIMUM_MEMBERS:
        raise Unreadable(
            _("%(name)s: the archive holds more than %(most)s files.")
            % {"name": source.name, "most": f"{MAXIMUM_MEMBERS:,}"}
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise Unreadable(
            _("%(name)s: the archive has a password. Pack it without one.")
            % {"name": source.name}
        )
    # The sizes stated here bound what is read: zipfile never gives more of an entry.
    stated = sum(entry.file_size for entry in entries)
    packed = source.path.stat().st_size
    if stated > max(RATIO_APPLIES_FROM, packed * MAXIMUM_RATIO):
        raise _bomb(source.name)
    return entries


def _bomb(name: str) -> Unreadable:
    return Unreadable(
        _(
            "%(name)s: it unpacks to more than %(ratio)d times its size, which no text "
            "does. Upload it unpacked."
        )
        % {"name": name, "ratio": MAXIMUM_RATIO}
    )


def _decompressed(raw: BinaryIO, name: str, path: Path) -> BinaryIO:
    return _decompressed_stream(raw, name, path.stat().st_size)


def _decompressed_stream(raw: IO[bytes], name: str, packed: int) -> BinaryIO:
    lower = name.lower()
    if lower.endswith(".gz"):
        return io.BufferedReader(_Limited(gzip.GzipFile(fileobj=raw), packed, name))
    if lower.endswith(".zst"):
        return io.BufferedReader(_Limited(_Zstandard(raw), packed, name))
    return raw  # type: ignore[return-value]


class _Zstandard:
    """A Zstandard stream that says so when its end is missing (the library's own reader
    ends as if all were there)."""

    def __init__(self, raw: IO[bytes]) -> None:
        import zstandard

        self.raw = raw
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
        self.frame = self.decompressor.decompressobj()
        self.begun = False
        self.ready = b""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; EOFError where the file ends inside a frame."""
        while not self.ready:
            block = self.raw.read(ZSTD_STEP)
            if not block:
                if self.begun:
                    raise EOFError("its end is missing")
                return b""
            self.ready = self._unpacked(block)
        given, self.ready = self.ready[:size], self.ready[size:]
        return given

    def _unpacked(self, block: bytes) -> bytes:
        parts = []
        while block:
            self.begun = True
            parts.append(self.frame.decompress(block))
            if not self.frame.eof:
                break
            block = self.frame.unused_data
            self.frame, self.begun = self.decompressor.decompressobj(), False
        return b"".join(parts)


class _Limited(io.RawIOBase):
    """A decompressing stream that ends in Unreadable when it grows like a bomb."""

    def __init__(self, stream: Readable, packed: int, name: str) -> None:
        self.stream = stream
        self.limit = max(RATIO_APPLIES_FROM, packed * MAXIMUM_RATIO)
        self.name = name
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        try:
            block = self.stream.read(len(buffer))
        except Unreadable:
            raise
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as problem:
            raise Unreadable(
                _("%(name)s: the file is damaged (%(problem)s).")
                % {"name": self.name, "problem": problem}
            ) from problem
        except Exception as problem:  # zstandard's own error class
            raise Unreadable(
                _("%(name)s: the file cannot be unpacked (%(problem)s).")
                % {"name": self.name, "problem": problem}
            ) from problem
        self.given += len(block)
        if self.given > self.limit:
            raise _bomb(self.name)
        buffer[: len(block)] = block
        return len(block)
