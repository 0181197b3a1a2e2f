"""Files for tests of reading: every format, packed in every way, and read back."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import zstandard

from webapp.datasets.reading.containers import Source
from webapp.datasets.reading.reader import Guess, Options, Reading, guess, read

TEXTS = [
    "Mto unapita karibu na kijiji chetu, na watoto huogelea humo kila siku.",
    "ئۇيغۇر تىلى تۈركىي تىللار ئائىلىسىگە كىرىدۇ، ئەرەب يېزىقى بىلەن يېزىلىدۇ.",
    "བོད་སྐད་ནི་རི་མཐོ་སའི་སྐད་ཅིག་ཡིན།",
    'Said "yes, of course", twice; then 5" of rain.',
    "Қазақ тілі — түркі тілдерінің бірі.",
]


def as_txt(texts: list[str]) -> bytes:
    return "\n".join(texts).encode()


def as_jsonl(texts: list[str]) -> bytes:
    return "\n".join(json.dumps({"text": text}) for text in texts).encode()


def as_json(texts: list[str]) -> bytes:
    return json.dumps([{"text": text} for text in texts], indent=1).encode()


def _table(texts: list[str], separator: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator)
    writer.writerow(["id", "text"])
    writer.writerows(enumerate(texts))
    return out.getvalue().encode()


def as_csv(texts: list[str]) -> bytes:
    return _table(texts, ",")


def as_tsv(texts: list[str]) -> bytes:
    rows = [f"{number}\t{text}" for number, text in enumerate(texts)]
    return "\n".join(["id\ttext", *rows]).encode()


def as_parquet(texts: list[str]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    table = pyarrow.table({"id": list(range(len(texts))), "text": texts})
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


FORMATS = {
    ".txt": as_txt,
    ".jsonl": as_jsonl,
    ".json": as_json,
    ".csv": as_csv,
    ".tsv": as_tsv,
    ".parquet": as_parquet,
}


def packed(content: bytes, name: str, how: str) -> tuple[str, bytes]:
    """The file's new name and bytes, packed "" (not), ".gz", ".zst" or ".zip"."""
    if how == ".gz":
        return name + how, gzip.compress(content)
    if how == ".zst":
        return name + how, zstandard.ZstdCompressor().compress(content)
    if how == ".zip":
        return "all.zip", zipped({name: content})
    return name, content


def zipped(contents: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return out.getvalue()


class Read:
    """Guess and reading of some files, with the rows that came out."""

    def __init__(self, folder: Path, files: dict[str, bytes], **options: Any) -> None:
        self.sources = []
        for name, content in files.items():
            path = folder / f"stored-{len(self.sources)}"
            path.write_bytes(content)
            self.sources.append(Source(name, path))
        self.guess: Guess = guess(self.sources)
        wanted = {
            "kind": self.guess.options.kind,
            "columns": self.guess.options.columns,
            "documents": self.guess.options.documents,
            **options,
        }
        out = io.BytesIO()
        self.reading: Reading = read(self.sources, Options(**wanted), out)
        self.written = out.getvalue()
        self.rows: list[dict[str, Any]] = [
            json.loads(line) for line in self.written.decode().split("\n") if line
        ]

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]

    @property
    def places(self) -> list[tuple[int, str]]:
        """Line and reason of everything that was dropped."""
        return [(p["line"], p["reason"]) for p in self.reading.problems.first]
