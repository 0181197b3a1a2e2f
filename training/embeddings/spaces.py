"""Vectors of tokens in a space of words, and nearest old tokens in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from training.embeddings import vectors
from training.embeddings.request import Mixture
from training.embeddings.words import limited, words

NEIGHBOURS = 10  # WECHSEL, OFA
TEMPERATURE = 0.1  # WECHSEL, OFA
SHORTEST, LONGEST = 3, 6  # character n-grams: fastText's
LONGEST_PART = 24
AT_ONCE = 512


def word_vectors(
    path: Path | None, texts: Callable[[], Iterable[str]], seed: int
) -> vectors.Vectors:
    """The given vectors, else vectors counted from the texts."""
    if path is not None:
        return vectors.read(path)
    return vectors.train(lambda: map(words, limited(texts())), seed=seed)


def by_ngrams(
    space: vectors.Vectors, texts: Mapping[int, str]
) -> tuple[list[int], np.ndarray]:
    """Ids that have a vector, and their vectors (n, d), as fastText would give them.

    A token that is a word has the word's vector. Any other has the mean of its
    character n-grams, each the mean of the words it occurs in; "<" marks a beginning.
    """
    wanted: dict[str, set[int]] = defaultdict(set)
    found: dict[int, np.ndarray] = {}
    for id_, text in texts.items():
        known = space.get(text.strip().casefold())
        if known is not None:
            found[id_] = known
            continue
        for ngram in _ngrams(("<" if text.startswith(" ") else "") + _bare(text)):
            wanted[ngram].add(id_)
    means = _means(space, wanted, lambda word: _ngrams(f"<{word}>"))
    sums: dict[int, list[np.ndarray]] = defaultdict(list)
    # In a fixed order: sums of floats depend on it, sets of strings have none.
    for ngram, mean in sorted(means.items()):
        for id_ in wanted[ngram]:
            sums[id_].append(mean)
    found.update({id_: np.mean(rows, axis=0) for id_, rows in sums.items()})
    return _stacked(found, space)


def by_containing_words(
    space: vectors.Vectors, texts: Mapping[int, str]
) -> tuple[list[int], np.ndarray]:
    """Ids that have a vector, and their vectors (n, d): the unweighted mean of the words
    that contain the token; with a leading space, of those that begin with it (OFA).
    """
    keys = {
        id_: ("<" if text.startswith(" ") else "") + _bare(text)
        for id_, text in texts.items()
    }
    means = _means(space, keys.values(), lambda word: _parts(f"<{word}"))
    return _stacked({i: means[key] for i, key in keys.items() if key in means}, space)


def _bare(text: str) -> str:
    return text.strip().casefold()


def _ngrams(text: str) -> set[str]:
    """All character n-grams; a shorter text is one itself."""
    if len(text) < SHORTEST:
        return {text}
    lengths = range(SHORTEST, LONGEST + 1)
    return {text[i : i + n] for n in lengths for i in range(len(text) - n + 1)}


def _parts(text: str) -> set[str]:
    """All substrings up to LONGEST_PART characters."""
    return {
        text[i:j]
        for i in range(len(text))
        for j in range(i + 1, min(len(text), i + LONGEST_PART) + 1)
    }


def _means(
    space: vectors.Vectors,
    wanted: Iterable[str],
    parts: Callable[[str], set[str]],
) -> dict[str, np.ndarray]:
    """The mean vector of the words that have each wanted part."""
    rows: dict[str, list[int]] = {part: [] for part in wanted}
    for word, row in space.index.items():
        if space.matrix[row].any():
            for part in parts(str(word)) & rows.keys():
                rows[part].append(row)
    return {part: space.matrix[at].mean(axis=0) for part, at in rows.items() if at}


def _stacked(
    found: Mapping[int, np.ndarray], space: vectors.Vectors
) -> tuple[list[int], np.ndarray]:
    ids = sorted(id_ for id_, row in found.items() if row.any())
    if not ids:
        return [], np.zeros((0, space.matrix.shape[1]), dtype=np.float32)
    return ids, np.stack([found[id_] for id_ in ids])


def normalised(matrix: np.ndarray) -> np.ndarray:
    """Rows of length 1 (zero rows stay), float64."""
    matrix = matrix.astype(np.float64)
    length = np.linalg.norm(matrix, axis=-1, keepdims=True)
    return matrix / np.where(length > 0, length, 1.0)


def nearest(
    targets: np.ndarray, sources: np.ndarray, source_ids: Sequence[int]
) -> list[Mixture]:
    """For each target (n, d) the softmax, at temperature 0.1, over the cosines of its 10
    nearest sources (m, d).
    """
    found: list[Mixture] = []
    sources = normalised(sources)
    count = min(NEIGHBOURS, len(source_ids))
    for start in range(0, len(targets), AT_ONCE):
        cosines = normalised(targets[start : start + AT_ONCE]) @ sources.T
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        for row, order in zip(cosines, best, strict=True):
            weights = np.exp((row[order] - row[order[0]]) / TEMPERATURE)
            weights /= weights.sum()
            ids = (source_ids[at] for at in order)
            found.append(dict(zip(ids, weights.tolist(), strict=True)))
    return found
