"""FOCUS: a few old tokens of like use (Dobler and de Melo 2023, arXiv 2305.14481).

Token vectors are trained on the text as the new tokenizer cuts it. Each new token's row
is a convex combination of the rows of old tokens that occur in the text too (the
anchors), by the sparsemax of the cosines. A token whose text an old token has is a copy.

Changed against the paper: vectors are counted (vectors.py), and a token without a vector
has the mean of its pieces instead of noise.
"""

from __future__ import annotations

import numpy as np

from training.embeddings import vectors
from training.embeddings.request import Mixture, Mixtures, Request
from training.embeddings.spaces import by_ngrams, normalised
from training.embeddings.words import encoded, limited, texts_of

AT_ONCE = 512


def weigh(request: Request) -> Mixtures:
    """Copies of overlapping tokens, sparsemax mixtures of the others."""
    old, new = request.pieces()
    named = texts_of(new)
    ids, matrix = _token_vectors(request, named)
    copies = copied(request, named, texts_of(old))
    anchors = [
        (at, old_id)
        for at, id_ in enumerate(ids)
        if (old_id := request.old_id(id_)) is not None and id_ in named
    ]
    mixtures: dict[int, Mixture] = {id_: {to: 1.0} for id_, to in copies.items()}
    wanted = [
        (at, id_)
        for at, id_ in enumerate(ids)
        if id_ in request.new_ids and id_ not in copies
    ]
    if anchors and wanted:
        matrix = normalised(matrix)
        known = matrix[[at for at, _ in anchors]]
        old_ids = [old_id for _, old_id in anchors]
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            weights = sparsemax(matrix[[at for at, _ in part]] @ known.T)
            for (_, id_), row in zip(part, weights, strict=True):
                used = np.flatnonzero(row)
                mixtures[id_] = {old_ids[at]: float(row[at]) for at in used}
    return Mixtures.both(mixtures)


def _token_vectors(
    request: Request, named: dict[int, str]
) -> tuple[list[int], np.ndarray]:
    """Ids of the new tokenizer that have a vector, and the vectors (n, d)."""
    if request.target_vectors is not None:
        return by_ngrams(vectors.read(request.target_vectors), named)
    _, new = request.pieces()
    space = vectors.train(
        lambda: (line.ids for line in encoded(new, limited(request.target_texts()))),
        seed=request.seed,
    )
    rows = [(int(str(id_)), row) for id_, row in space.index.items()]
    kept = [(id_, row) for id_, row in rows if space.matrix[row].any()]
    return [id_ for id_, _ in kept], space.matrix[[row for _, row in kept]]


def copied(
    request: Request,
    named: dict[int, str],
    old_named: dict[int, str],
    *,
    fuzzy: bool = False,
) -> dict[int, int]:
    """New id -> old id of tokens with the same text; `fuzzy`: in small letters."""

    def form(text: str) -> str:
        return text.casefold() if fuzzy else text

    known: dict[str, int] = {}
    for id_, text in sorted(old_named.items()):
        known.setdefault(form(text), id_)
    exact = {text: id_ for id_, text in old_named.items()}
    found = {}
    for id_ in request.new_ids & named.keys():
        match = exact.get(named[id_], known.get(form(named[id_])))
        if match is not None:
            found[id_] = match
    return found


def sparsemax(scores: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex to each row (Martins and Astudillo 2016)."""
    order = -np.sort(-scores, axis=1)
    total = np.cumsum(order, axis=1) - 1.0
    places = np.arange(1, scores.shape[1] + 1)
    size = (order * places > total).sum(axis=1)
    threshold = total[np.arange(len(scores)), size - 1] / size
    weights = np.maximum(scores - threshold[:, None], 0.0)
    return weights / weights.sum(axis=1, keepdims=True)
