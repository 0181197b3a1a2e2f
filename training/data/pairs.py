"""Rows of parallel text and dictionaries: two sides and the languages they are in."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Pair:
    """Two texts that mean the same, with their languages (BCP 47)."""

    languages: tuple[str, str]
    texts: tuple[str, str]

    def text(self, language: str) -> str:
        """The side in `language`; "" where neither is."""
        side = side_of(self.languages, language)
        return "" if side is None else self.texts[side]


def read_pairs(rows: Iterable[dict[str, Any]]) -> Iterator[Pair]:
    """The rows {"source", "target", "languages"} that have both sides, one at a time."""
    for row in rows:
        source = str(row.get("source") or "").strip()
        target = str(row.get("target") or "").strip()
        if source and target:
            first, second = row["languages"]
            yield Pair((first, second), (source, target))


class StoredPairs(Sequence[Pair]):
    """The pairs of a file of rows, read when asked for: eight bytes of memory each, where
    a million as objects take 0.9 GB. The file must stay as it is."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")
        self.starts = array("Q")
        start = 0
        for line in self.file:
            if line.strip() and any(read_pairs([json.loads(line)])):
                self.starts.append(start)
            start += len(line)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, place: Any) -> Any:
        self.file.seek(self.starts[place])
        (pair,) = read_pairs([json.loads(self.file.readline())])
        return pair


def side_of(languages: Sequence[str], language: str) -> int | None:
    """Which of two languages is `language`, None where neither is. Prepared rows have the
    job's own tags (training/data/languages.py)."""
    return languages.index(language) if language in languages else None
