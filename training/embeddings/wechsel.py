"""WECHSEL: old tokens of like meaning (Minixhofer et al. 2022, arXiv 2112.06598).

Both vocabularies get vectors in the space of their own language's words. Pairs of a
dictionary give the rotation of one space into the other (orthogonal Procrustes). A row is
the softmax at temperature 0.1 over the 10 nearest old tokens.

Changed against the paper: vectors are counted where none are given (vectors.py); without
a dictionary the pairs come from the word alignment of parallel text; a token without a
vector has the mean of its pieces instead of noise.
"""

from __future__ import annotations

import numpy as np

from training.embeddings.lexicon import word_pairs
from training.embeddings.request import Mixtures, Request
from training.embeddings.spaces import by_ngrams, nearest, normalised, word_vectors
from training.embeddings.vectors import Vectors
from training.embeddings.words import texts_of
from training.errors import MaterialMissing

# A rotation of 100 dimensions from fewer pairs is chance.
LEAST_PAIRS = 30


def weigh(request: Request) -> Mixtures:
    """Softmax mixtures of the nearest old tokens."""
    old, new = request.pieces()
    target = word_vectors(request.target_vectors, request.target_texts, request.seed)
    base = word_vectors(request.base_vectors, request.base_texts, request.seed)
    target = rotated(request, target, base)
    base = Vectors(base.index, widened(base.matrix, target.matrix.shape[1]))
    named = {i: t for i, t in texts_of(new).items() if i in request.new_ids}
    ids, targets = by_ngrams(target, named)
    source_ids, sources = by_ngrams(base, texts_of(old))
    if not source_ids:
        return Mixtures.both({})
    found = nearest(targets, sources, source_ids)
    return Mixtures.both(dict(zip(ids, found, strict=True)))


def rotated(request: Request, target: Vectors, base: Vectors) -> Vectors:
    """The target vectors turned into the base's space by the word pairs.

    Raises MaterialMissing where too few pairs have vectors on both sides.
    """
    width = max(target.matrix.shape[1], base.matrix.shape[1])
    matrix, other = widened(target.matrix, width), widened(base.matrix, width)
    pairs = [
        (target.index[there], base.index[here])
        for here, there in word_pairs(request)
        if here in base.index and there in target.index
    ]
    if len(pairs) < LEAST_PAIRS:
        raise MaterialMissing(
            f"Only {len(pairs)} words of the dictionary stand in both texts often "
            f"enough; {LEAST_PAIRS} are needed to bring the two languages together.",
            hint="Add more text, a larger dictionary or parallel text, or choose "
            "another way to start the new rows.",
        )
    here = normalised(matrix)[[one for one, _ in pairs]]
    there = normalised(other)[[two for _, two in pairs]]
    turned = matrix.astype(np.float64) @ procrustes(here, there)
    return Vectors(target.index, turned.astype(np.float32))


def widened(matrix: np.ndarray, width: int) -> np.ndarray:
    """The matrix (n, d) with columns of zeros up to `width`: no cosine changes."""
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1])))


def procrustes(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The rotation R (d, d) with one @ R nearest to other (Schönemann 1966)."""
    left, _, right = np.linalg.svd(one.T.astype(np.float64) @ other)
    return left @ right
