"""Rows of a corpus, read one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from training.errors import InputMissing
from training.spec import Corpus


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, one a line; raises InputMissing naming a bad line."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise InputMissing(
                    f"Line {number} of {path.name} is not a row of data."
                )
            yield row


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as JSON lines; returns how many. Lone surrogates are left out."""
    count = 0
    with path.open("w", encoding="utf-8", errors="ignore") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_texts(path: Path) -> Iterator[str]:
    """The texts of a file of {"text"} rows."""
    for row in read_rows(path):
        yield row["text"]


def read_labelled(path: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of a file of {"text", ["language"]} rows, "" where none is named."""
    for row in read_rows(path):
        yield row.get("language", ""), row["text"]


def corpus_texts(corpus: Corpus) -> Iterator[str]:
    """Texts of a monolingual corpus without surrounding blanks; empty ones left out."""
    for number, row in enumerate(read_rows(Path(corpus.path)), 1):
        text = row.get("text")
        if not isinstance(text, str):
            name = corpus.name or Path(corpus.path).name
            raise InputMissing(f'Row {number} of {name} has no "text".')
        # A lone surrogate can be written as JSON and not as UTF-8.
        text = text.encode("utf-8", "ignore").decode("utf-8").strip()
        if text:
            yield text


def texts_of_file(path: Path) -> list[str]:
    """The lines of a file that somebody names, or the texts of its rows (.jsonl); raises
    InputMissing where it is not UTF-8 or a row has no text."""
    try:
        if path.suffix == ".jsonl":
            return list(corpus_texts(Corpus(str(path), "monolingual", ())))
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as problem:
        raise InputMissing(
            f"The file {path.name} is no text in UTF-8.",
            hint="Save it as UTF-8 and start again.",
        ) from problem
