"""What went wrong while reading, and where."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]  # column name -> value

SHOWN = 50


class Unreadable(Exception):
    """A file, or the rest of one, cannot be read; the sentence names the file.

    `problems` says what was dropped where no row at all was left.
    """

    def __init__(self, sentence: str, problems: Problems | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.problems = problems


@dataclass
class Problems:
    """Dropped rows: counts by reason, and the first of them with their place."""

    counts: Counter[str] = field(default_factory=Counter)
    first: list[dict[str, object]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # sentences about whole files

    def add(self, reason: str, file: str, line: int, excerpt: str = "") -> None:
        """Note one dropped row."""
        self.counts[reason] += 1
        if len(self.first) < SHOWN:
            self.first.append(
                {"file": file, "line": line, "reason": reason, "excerpt": excerpt[:200]}
            )

    def as_dict(self) -> dict[str, object]:
        """As stored with a dataset version."""
        return {"counts": dict(self.counts), "first": self.first, "files": self.files}
