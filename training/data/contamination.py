"""A guard: what is held out must not be learned through another door.

A sentence that is held out of the plain text can stand in the parallel text, in an
answer or in a corpus of a related language. Exact sentences are compared by hash, after
white space is made equal, as benchmarks are usually searched for in training text (Brown
et al. 2020, section 4 and appendix C, with n-grams of words; sentences need no words,
so that scripts without spaces are guarded too).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

# Ends of sentences and lines, as training/data/passages.py cuts.
ENDS = re.compile(r"\n|[.!?…]+[\"'”»)\]]*\s+|[।॥။።。！？؟۔]+\s*|།+\s*")
# A shorter sentence ("Yes, I know.") is in every text. In UTF-8: 30 Latin letters, 10
# of Tibetan or Han.
SHORTEST_BYTES = 30


def sentences(text: str) -> Iterator[bytes]:
    """Hashes (8 bytes) of the text's sentences of SHORTEST_BYTES or more."""
    for piece in ENDS.split(text):
        words = " ".join(piece.split()).rstrip(".!?…।॥။።。！？؟۔།་ ")
        plain = words.encode("utf-8", "ignore")  # not lone surrogates
        if len(plain) >= SHORTEST_BYTES:
            yield hashlib.blake2b(plain, digest_size=8).digest()


def strings(row: Any) -> Iterator[str]:
    """Every text inside a row, at any depth."""
    if isinstance(row, str):
        yield row
    elif isinstance(row, dict):
        for value in row.values():
            yield from strings(value)
    elif isinstance(row, (list, tuple)):
        for value in row:
            yield from strings(value)


class Guard:
    """Knows the sentences that are held out; memory is one hash a sentence."""

    def __init__(self, held_out: Iterable[str] = ()) -> None:
        self.hashes = {digest for text in held_out for digest in sentences(text)}
        self.refused: dict[str, int] = {}

    def touches(self, row: Any) -> bool:
        """Whether any text of a row holds a sentence that is held out."""
        if not self.hashes:
            return False
        return any(d in self.hashes for text in strings(row) for d in sentences(text))

    def clean(self, rows: Iterable[Any], role: str) -> Iterator[Any]:
        """Rows that hold nothing that is held out; the others are counted by role."""
        self.refused[role] = 0
        for row in rows:
            if self.touches(row):
                self.refused[role] += 1
            else:
                yield row
