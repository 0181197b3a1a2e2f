"""Vectors of words or tokens: counted from text, or read from a file.

The methods' papers train fastText. Here vectors are counted: positive pointwise mutual
information of words in a window, context counts raised to 0.75, then a truncated
singular value decomposition with the root of the singular values. Levy and Goldberg 2014
showed that skip-gram with negative sampling factorises this matrix; Levy, Goldberg and
Dagan 2015 that it does as well on small text. It needs no library and no threads, and
the same text gives the same vectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from training.errors import InputMissing

DIMENSIONS = 100  # FOCUS
WINDOW = 5
MINIMUM = 5  # occurrences; fastText's default
MOST_WORDS = 30_000
SMOOTHING = 0.75  # of context counts: word2vec's, kept by Levy et al. 2015
AT_ONCE = 500_000  # positions counted before equal pairs are summed up
# Of a given file: the first rows, which are the most frequent words.
MOST_GIVEN = 200_000


@dataclass(frozen=True)
class Vectors:
    """Rows (n, d) float32 of words or token ids."""

    index: dict[Hashable, int]
    matrix: np.ndarray

    def get(self, word: Hashable) -> np.ndarray | None:
        """The vector (d,) of a word; None where there is none or it is zero."""
        row = self.index.get(word)
        if row is None or not self.matrix[row].any():
            return None
        return self.matrix[row]


def train(
    sequences: Callable[[], Iterable[Sequence[Hashable]]],
    *,
    seed: int,
    dimensions: int = DIMENSIONS,
    minimum: int = MINIMUM,
) -> Vectors:
    """Vectors from sequences of words, which are read twice.

    Words seen less often than `minimum` are taken out before windows are counted.
    """
    seen: Counter[Hashable] = Counter()
    for sequence in sequences():
        seen.update(sequence)
    kept = [word for word, n in seen.most_common(MOST_WORDS) if n >= minimum]
    index = {word: row for row, word in enumerate(kept)}
    size = len(kept)
    if size < 2:
        return Vectors(index, np.zeros((size, dimensions), dtype=np.float32))
    keys, counts = _pairs(sequences, index)
    values = _information(keys // size, keys % size, counts, size)
    positive = values > 0
    keys, values = keys[positive], values[positive].astype(np.float32)
    cells = torch.from_numpy(np.stack([keys // size, keys % size]))
    matrix = torch.sparse_coo_tensor(
        cells,
        torch.from_numpy(values),
        (size, size),
        is_coalesced=True,
        check_invariants=False,
    )
    left, strength = truncated_svd(matrix, dimensions, seed)
    return Vectors(index, (left * strength.sqrt()).numpy())


def _pairs(
    sequences: Callable[[], Iterable[Sequence[Hashable]]], index: dict[Hashable, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(row * size + column, weight) of words in each other's window, keys ascending.

    A neighbour k words away counts 1/k.
    """
    size = len(index)
    keys, counts = np.empty(0, dtype=np.int64), np.empty(0)
    ids: list[int] = []
    gap = [-1] * WINDOW

    def add() -> None:
        nonlocal keys, counts
        row = np.array(ids, dtype=np.int64)
        found, weights = [keys], [counts]
        for distance in range(1, WINDOW + 1):
            one, other = row[:-distance], row[distance:]
            both = (one >= 0) & (other >= 0)
            one, other = one[both], other[both]
            for pair in (one * size + other, other * size + one):
                found.append(pair)
                weights.append(np.full(len(pair), 1.0 / distance))
        keys, place = np.unique(np.concatenate(found), return_inverse=True)
        counts = np.bincount(place, weights=np.concatenate(weights))

    for sequence in sequences():
        ids.extend(index[word] for word in sequence if word in index)
        ids.extend(gap)
        if len(ids) >= AT_ONCE:
            add()
            ids = []
    if ids:
        add()
    return keys, counts


def _information(
    rows: np.ndarray, columns: np.ndarray, counts: np.ndarray, size: int
) -> np.ndarray:
    """Pointwise mutual information of each pair, contexts smoothed."""
    by_row = np.bincount(rows, weights=counts, minlength=size)
    by_column = np.bincount(columns, weights=counts, minlength=size) ** SMOOTHING
    share = counts / by_row[rows]
    return np.log(share * by_column.sum() / by_column[columns])


@torch.no_grad()
def truncated_svd(
    matrix: torch.Tensor, rank: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Left singular vectors (n, rank) and singular values of a square matrix (n, n),
    dense or sparse, by random projection and power iterations (Halko et al. 2011).
    """
    size = matrix.shape[0]
    width = min(size, rank + 20)
    turned = matrix.t().coalesce() if matrix.is_sparse else matrix.t()
    generator = torch.Generator().manual_seed(seed)
    sketch = matrix @ torch.randn(size, width, generator=generator)
    for _ in range(4):
        basis = torch.linalg.qr(sketch)[0]
        sketch = matrix @ (turned @ basis)
    basis = torch.linalg.qr(sketch)[0]
    _, strength, small = torch.linalg.svd(turned @ basis, full_matrices=False)
    rank = min(rank, width)
    return basis @ small.T[:, :rank], strength[:rank]


def read(path: Path) -> Vectors:
    """Vectors of a word2vec text file: a word and its numbers on each line.

    A first line "words dimensions" is passed over. Raises InputMissing naming a bad line.
    """
    index: dict[Hashable, int] = {}
    rows: list[np.ndarray] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(islice(file, MOST_GIVEN + 1), 1):
            word, _, numbers = line.rstrip("\n").partition(" ")
            if number == 1 and len(numbers.split()) == 1:
                continue
            try:
                row = np.array(numbers.split(), dtype=np.float32)
            except ValueError:
                row = np.empty(0, dtype=np.float32)
            if not row.size or (rows and row.size != rows[0].size):
                raise InputMissing(
                    f"Line {number} of {path.name} is no word with its vector."
                )
            if word.casefold() not in index:
                index[word.casefold()] = len(rows)
                rows.append(row)
    if not rows:
        raise InputMissing(f"{path.name} holds no vectors.")
    return Vectors(index, np.stack(rows))
