"""Dataset decomposition: sequences of equal length from one document each, short first.

Pouransari et al. 2024 ("Dataset Decomposition: Faster LLM Training with Variable Sequence
Length Curriculum"): a document is cut into pieces whose lengths are powers of two; a batch
holds pieces of one length, always the same number of tokens; in each cycle the lengths
grow. No piece holds two documents, so attention needs no mask between them, and short
batches spend less on it. Here nothing is dropped: the rest of a document shorter than the
shortest length is a piece of that length with empty places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

SHORTEST = 16

# source, passage, first target, number of targets
Piece = tuple[int, int, int, int]
# width of its rows, and the pieces of each row
Layout = tuple[int, list[list[Piece]]]


def widths(longest: int) -> list[int]:
    """The lengths of sequences, the longest first: `longest`, then powers of two."""
    found = [longest]
    width = 1 << (longest.bit_length() - 1)
    while width >= SHORTEST:
        if width < longest:
            found.append(width)
        width //= 2
    return found


def decompose(targets: int, longest: int) -> Iterator[tuple[int, int, int]]:
    """(first target, number of targets, width) of the pieces of a document."""
    first = 0
    for width in widths(longest):
        while targets - first >= width:
            yield first, width, width
            first += width
    if first < targets:
        yield first, targets - first, widths(longest)[-1]


def bucketed(
    documents: Iterable[tuple[int, int, int]],
    *,
    longest: int,
    batch_tokens: int,
    cycle: int,
    finished: Callable[[], None],
) -> Iterator[Layout]:
    """Batches out of (source, passage, number of targets), `cycle` of them at a time in
    the order of their lengths; `finished` is called for each batch that is full.

    What does not fill a batch waits for the next cycle: memory is one cycle's pieces.
    """
    waiting: dict[int, list[list[Piece]]] = {}
    full: list[Layout] = []
    for source, passage, targets in documents:
        for first, count, width in decompose(targets, longest):
            rows = waiting.setdefault(width, [])
            rows.append([(source, passage, first, count)])
            if len(rows) < max(1, batch_tokens // width):
                continue
            full.append((width, waiting.pop(width)))
            finished()
            if len(full) == cycle:
                yield from sorted(full, key=lambda layout: layout[0])
                full = []
