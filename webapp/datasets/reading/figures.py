"""Statistics of rows while they go by."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Any

from webapp.datasets.reading.problems import Record

PREVIEW_ROWS = 50
PREVIEW_CHARACTERS = 2_000
# Hashes of 8 bytes; beyond this many, duplicates are no longer counted.
MOST_HASHES = 5_000_000
SCRIPTS = {"CJK": "Han", "HANGUL": "Hangul"}


class Figures:
    """Counts documents, characters, words, bytes, scripts, lengths and duplicates."""

    def __init__(self) -> None:
        self.documents = self.characters = self.words = self.bytes = 0
        self.duplicates = self.longest = 0
        self.letters: Counter[str] = Counter()
        self.lengths: Counter[int] = Counter()
        self.preview: list[Record] = []
        self._hashes: set[bytes] = set()

    def add(self, row: Record) -> None:
        """Count one row."""
        text = row_text(row)
        self.documents += 1
        self.characters += len(text)
        self.words += len(text.split())
        encoded = text.encode()
        self.bytes += len(encoded)
        self.longest = max(self.longest, len(text) - _other_answer(row))
        self.letters.update(text)
        self.lengths[max(0, len(text).bit_length() - 1)] += 1
        if len(self._hashes) < MOST_HASHES:
            digest = hashlib.blake2b(encoded, digest_size=8).digest()
            self.duplicates += digest in self._hashes
            self._hashes.add(digest)
        if len(self.preview) < PREVIEW_ROWS:
            self.preview.append(_cut(row))

    def as_dict(self) -> dict[str, Any]:
        """As stored with a dataset version. Lengths: {"from", "to", "documents"}, and the
        longest row (with one of two answers), in characters."""
        return {
            "documents": self.documents,
            "characters": self.characters,
            "words": self.words,
            "bytes": self.bytes,
            "duplicates": self.duplicates,
            "scripts": self.scripts(),
            "longest": self.longest,
            "lengths": [
                {"from": 2**power, "to": 2 ** (power + 1) - 1, "documents": count}
                for power, count in sorted(self.lengths.items())
            ],
        }

    def scripts(self) -> list[dict[str, Any]]:
        """Scripts with their share of all letters, largest first."""
        counts: Counter[str] = Counter()
        for character, count in self.letters.items():
            if (script := script_of(character)) is not None:
                counts[script] += count
        total = sum(counts.values())
        return [
            {"script": script, "share": round(count / total, 5)}
            for script, count in counts.most_common(8)
        ]


@lru_cache(maxsize=65_536)
def script_of(character: str) -> str | None:
    """The script of a letter by its Unicode name ("Cyrillic"); None for other signs."""
    if unicodedata.category(character)[0] != "L":
        return None
    word = unicodedata.name(character, "").split(" ")[0].split("-")[0]
    if word in ("", "MODIFIER", "FEMININE", "MASCULINE"):
        return None
    return SCRIPTS.get(word, word.capitalize())


def row_text(row: Record) -> str:
    """All text of a row, for counting; of a document what is read, without what stands
    beside it."""
    if isinstance(row.get("text"), str):
        return row["text"]
    parts = []
    for value in row.values():
        if isinstance(value, str):
            parts.append(value)
        else:
            parts.extend(message["content"] for message in value)
    return "\n".join(parts)


def _other_answer(row: Record) -> int:
    """Characters of the shorter one of two answers to the same question."""
    answers = (row.get("chosen") or "", row.get("rejected") or "")
    return min(map(len, answers))


def _cut(row: Record) -> Record:
    cut: Record = {}
    for name, value in row.items():
        if isinstance(value, str):
            cut[name] = value[:PREVIEW_CHARACTERS]
        else:
            cut[name] = [
                {**message, "content": message["content"][:PREVIEW_CHARACTERS]}
                for message in value[:20]
            ]
    return cut
