"""Rows of parallel text, instructions and preferences: some held out, none twice.

Corpora are streamed twice; what is kept is a hash of each different row, so that rows
stay in the order of their file (neighbouring pairs of sentences are running text).
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from training.data.contamination import Guard
from training.data.languages import own_tag
from training.data.rows import read_rows
from training.spec import Corpus

# Rows held out of each corpus: a share, and rows at most; none of fewer than ten.
HELD_OUT_SHARE, HELD_OUT_ROWS, LEAST_ROWS = 0.04, 200, 10
LEFT_OUT = 2**64 - 1  # instead of the hash of a row that is not used


def divide_rows(
    folder: Path,
    role: str,
    corpora: Sequence[Corpus],
    seed: int,
    guard: Guard,
    own: Sequence[str] = (),
) -> tuple[dict[str, int], int]:
    """Write ROLE-train.jsonl and ROLE-held_out.jsonl.

    A row that names its language gets the tag of `own` for it.

    Returns how many rows lie in each, and how many were left out because they hold text
    that `guard` knows or, of parallel rows, share a side with a row held out here (one
    sentence with four translations must not lie on both sides).
    """
    seen: set[int] = set()
    counts, left_out = {"train": 0, "held_out": 0}, 0
    plans = []
    sides: set[str] = set()
    for corpus in corpora:
        hashes, touched = _hashes(corpus, seen, seed, guard)
        left_out += touched
        chosen = _lowest(hashes)
        plans.append((corpus, hashes, chosen))
        for row, digest in zip(_rows(corpus), hashes, strict=True):
            if digest in chosen:
                sides.update(_sides(row))
    names = {part: folder / f"{role}-{part}.jsonl" for part in counts}
    with (
        # A lone surrogate can be written as JSON and not as UTF-8.
        names["train"].open("w", encoding="utf-8", errors="ignore") as train,
        names["held_out"].open("w", encoding="utf-8", errors="ignore") as held_out,
    ):
        for corpus, hashes, chosen in plans:
            for row, digest in zip(_rows(corpus), hashes, strict=True):
                if digest == LEFT_OUT:
                    continue
                if row.get("language"):
                    row["language"] = own_tag(str(row["language"]), own)
                if digest in chosen:
                    _write(held_out, row)
                    counts["held_out"] += 1
                elif sides.isdisjoint(_sides(row)):
                    _write(train, row)
                    counts["train"] += 1
                else:
                    left_out += 1
    return counts, left_out


def write_all(
    folder: Path, role: str, corpora: Sequence[Corpus], guard: Guard
) -> tuple[dict[str, int], int]:
    """Write ROLE-train.jsonl with every different row, nothing held out."""
    seen: set[int] = set()
    count = touched = 0
    path = folder / f"{role}-train.jsonl"
    with path.open("w", encoding="utf-8", errors="ignore") as file:
        for corpus in corpora:
            hashes, more = _hashes(corpus, seen, 0, guard)
            touched += more
            for row, digest in zip(_rows(corpus), hashes, strict=True):
                if digest != LEFT_OUT:
                    _write(file, row)
                    count += 1
    return {"train": count}, touched


def _hashes(
    corpus: Corpus, seen: set[int], seed: int, guard: Guard
) -> tuple[array[int], int]:
    """A hash for each row, LEFT_OUT for repeated and guarded ones; how many of the
    latter."""
    hashes, touched = array("Q"), 0
    for row in _rows(corpus):
        text = json.dumps([seed, row], sort_keys=True, ensure_ascii=False)
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8)
        number = min(int.from_bytes(digest.digest(), "big"), LEFT_OUT - 1)
        if number in seen:
            number = LEFT_OUT
        elif guard.touches({k: v for k, v in row.items() if k != "languages"}):
            touched += 1
            number = LEFT_OUT
        else:
            seen.add(number)
        hashes.append(number)
    return hashes, touched


def _lowest(hashes: array[int]) -> set[int]:
    """Hashes of the rows that are held out: the lowest ones."""
    found = sorted(number for number in hashes if number != LEFT_OUT)
    if len(found) < LEAST_ROWS:
        return set()
    count = min(int(len(found) * HELD_OUT_SHARE), HELD_OUT_ROWS)
    return set(found[: max(count, 1)])


def _rows(corpus: Corpus) -> Iterator[dict[str, Any]]:
    """Rows of a corpus; parallel ones get their languages, instructions the one of the
    corpus where they name none."""
    for row in read_rows(Path(corpus.path)):
        if corpus.kind == "parallel":
            row = {**row, "languages": list(corpus.languages)}
        elif corpus.kind == "instructions" and corpus.languages:
            row = {"language": corpus.languages[0], **row}
        yield row


def _sides(row: dict[str, Any]) -> set[str]:
    """Both texts of a parallel row with equal white space; nothing of other rows."""
    if "languages" not in row:
        return set()
    texts = (
        " ".join(str(row.get(side) or "").split()) for side in ("source", "target")
    )
    return {text for text in texts if text}


def _write(file: TextIO, row: dict[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")
