"""Text the model learns from, text that draws the curves, text nobody touches.

A passage's place follows from a hash of its own characters and the seed: the same text
lies on the same side in every run and under every tokenizer. Exact duplicates are removed
first. Corpora are streamed three times and never held in memory; what is kept is a hash
for each different row (about 100 bytes of Python) and those of what is held out.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from training.data.passages import passages

# Below this there is nothing to learn from and to measure on.
LEAST_CHARACTERS = 5_000
# A measurement on less than this says nothing; small corpora give up to a tenth.
LEAST_HELD_OUT, LEAST_HELD_OUT_SHARE = 2_000, 0.1
SHORTEST_LIMIT = 200

Source = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Limits:
    """How much is held out: shares of the characters, and characters at most."""

    held_out_share: float
    held_out_characters: int
    validation_share: float
    validation_characters: int
    short_text: int = 400

    def quotas(self, total: int) -> tuple[int, int]:
        """Characters to hold out and to validate on, of `total`; at most half of it."""
        held_out = _quota(total, self.held_out_share, self.held_out_characters)
        validation = _quota(total, self.validation_share, self.validation_characters)
        excess = (held_out + validation) / (total / 2)
        if excess > 1:
            held_out, validation = int(held_out / excess), int(validation / excess)
        return held_out, validation


def _quota(total: int, share: float, most: int) -> int:
    least = min(LEAST_HELD_OUT, int(total * LEAST_HELD_OUT_SHARE))
    return min(max(int(total * share), least), most)


@dataclass
class Seen:
    """Rows met so far, over every corpus of a job."""

    hashes: set[bytes] = field(default_factory=set)

    def unique(self, texts: Iterable[str]) -> Iterator[str]:
        """Texts not met before; remembers them."""
        for text in texts:
            digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
            if digest not in self.hashes:
                self.hashes.add(digest)
                yield text


@dataclass(frozen=True)
class Split:
    """One corpus, divided. The parts are streamed again each time they are asked for."""

    source: Source
    limit: int
    short: int
    seed: int
    held_out_ranks: frozenset[int]
    validation_ranks: frozenset[int]
    characters: int

    def parts(self) -> Iterator[tuple[str, str]]:
        """(part, text): part is "train", "validation" or "held_out".

        Neighbouring training passages of one document come as one text again.
        """
        together: list[str] = []
        rows = passages(self.source(), limit=self.limit, short=self.short)
        for text, ends in rows:
            rank = _rank(text, self.seed)
            part = "train"
            if rank in self.held_out_ranks:
                part = "held_out"
            elif rank in self.validation_ranks:
                part = "validation"
            if part == "train":
                together.append(text)
            if together and (ends or part != "train"):
                yield "train", "".join(together).strip()
                together = []
            if part != "train":
                yield part, text.strip()


def split_corpora(
    sources: Sequence[Source], limits: Limits, seed: int, seen: Seen | None = None
) -> tuple[list[Split], int]:
    """Divide each corpus by itself; also returns the characters of all of them.

    What one corpus holds out is in no other one's training text, and rows in `seen`
    (which grows) are left out. A corpus below LEAST_CHARACTERS is all training text,
    unless it is the only one.
    """
    seen = Seen() if seen is None else seen
    uniques = [list_hashes(source, seen) for source in sources]
    total = sum(characters for _, characters in uniques)
    splits = []
    for source, (wanted, characters) in zip(sources, uniques, strict=True):
        unique = _unique_source(source, wanted)
        small = characters < LEAST_CHARACTERS and len(sources) > 1
        splits.append(_split(unique, 0 if small else characters, limits, seed))
    held_out = frozenset().union(*(split.held_out_ranks for split in splits))
    validation = frozenset().union(*(split.validation_ranks for split in splits))
    return [
        Split(s.source, s.limit, s.short, seed, held_out, validation - held_out, n)
        for s, (_, n) in zip(splits, uniques, strict=True)
    ], total


def list_hashes(source: Source, seen: Seen) -> tuple[bytearray, int]:
    """One flag a row, whether it is new to `seen`, and the characters of the new ones."""
    flags, characters = bytearray(), 0
    for text in source():
        new = any(True for _ in seen.unique([text]))
        flags.append(new)
        characters += len(text) if new else 0
    return flags, characters


def _unique_source(source: Source, wanted: bytearray) -> Source:
    def unique() -> Iterator[str]:
        for flag, text in zip(wanted, source(), strict=True):
            if flag:
                yield text

    return unique


def _split(source: Source, characters: int, limits: Limits, seed: int) -> Split:
    """Choose the passages with the lowest hashes until the quotas are full."""
    if not characters:
        empty: frozenset[int] = frozenset()
        return Split(source, 10**9, limits.short_text, seed, empty, empty, 0)
    held_out_quota, validation_quota = limits.quotas(characters)
    # Three passages at least fill a quota, so that one huge document can be divided.
    limit = max(SHORTEST_LIMIT, min(held_out_quota, validation_quota) // 3)
    needed = held_out_quota + validation_quota
    lowest: list[tuple[int, int]] = []
    held: set[int] = set()
    total = 0
    for text, _ in passages(source(), limit=limit, short=limits.short_text):
        rank = _rank(text, seed)
        if rank in held:
            continue
        held.add(rank)
        heapq.heappush(lowest, (-rank, len(text)))
        total += len(text)
        while total - lowest[0][1] > needed + limit:
            dropped, size = heapq.heappop(lowest)
            held.remove(-dropped)
            total -= size
    chosen = sorted((-rank, size) for rank, size in lowest)
    held_out = _take(chosen, held_out_quota)
    validation = _take(chosen[len(held_out) :], validation_quota)
    return Split(
        source=source,
        limit=limit,
        short=limits.short_text,
        seed=seed,
        held_out_ranks=frozenset(held_out),
        validation_ranks=frozenset(validation),
        characters=characters,
    )


def _take(chosen: list[tuple[int, int]], quota: int) -> list[int]:
    """Hashes of the first passages that fit into `quota` characters; one at least."""
    taken, total = [], 0
    for rank, size in chosen:
        if taken and total + size > quota:
            break
        taken.append(rank)
        total += size
    return taken


def _rank(text: str, seed: int) -> int:
    digest = hashlib.blake2b(
        text.encode(), digest_size=8, key=str(seed).encode()
    ).digest()
    return int.from_bytes(digest, "big")
