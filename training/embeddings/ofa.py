"""OFA: WECHSEL's mixtures in a factorised embedding (Liu et al. 2024, arXiv 2311.08849).

A token's vector is the unweighted mean of the words that contain it; old tokens with the
same text, upper and lower case alike, are copied; the others mix the 10 nearest old
tokens, in coordinates of the `rank` strongest directions of the old rows.

Changed against the paper: its vectors come from a published multilingual graph. Here
both files of vectors may be given and then share a space, else vectors are counted and
turned by word pairs, as in WECHSEL. The old rows stay as they are: only the new ones lie
in the low-rank space.
"""

from __future__ import annotations

from training.embeddings.factorised import projected
from training.embeddings.focus import copied
from training.embeddings.request import (
    Mixture,
    Mixtures,
    OldRows,
    Request,
    Rows,
    from_mixtures,
)
from training.embeddings.spaces import by_containing_words, nearest, word_vectors
from training.embeddings.vectors import Vectors
from training.embeddings.wechsel import rotated, widened
from training.embeddings.words import texts_of


def rows(request: Request, old: OldRows) -> Rows:
    """Copies of overlapping tokens; the others within the strongest directions."""
    copies = _copies(request)
    exact = from_mixtures(request, old, weigh(request))
    made = projected(request, exact, old)
    for place, token in enumerate(request.tokens):
        if token.id in copies:
            made.input[place] = exact.input[place]
            if made.output is not None and exact.output is not None:
                made.output[place] = exact.output[place]
    return made


def _copies(request: Request) -> dict[int, Mixture]:
    old, new = request.pieces()
    found = copied(request, texts_of(new), texts_of(old), fuzzy=True)
    return {id_: {to: 1.0} for id_, to in found.items()}


def weigh(request: Request) -> Mixtures:
    """Copies, and softmax mixtures of the nearest old tokens."""
    old, new = request.pieces()
    target = word_vectors(request.target_vectors, request.target_texts, request.seed)
    base = word_vectors(request.base_vectors, request.base_texts, request.seed)
    width = max(target.matrix.shape[1], base.matrix.shape[1])
    given = request.target_vectors is not None and request.base_vectors is not None
    if given:
        target = Vectors(target.index, widened(target.matrix, width))
    else:
        target = rotated(request, target, base)
    base = Vectors(base.index, widened(base.matrix, width))
    named = {i: t for i, t in texts_of(new).items() if i in request.new_ids}
    ids, targets = by_containing_words(target, named)
    source_ids, sources = by_containing_words(base, texts_of(old))
    found: dict[int, Mixture] = {}
    if source_ids:
        found = dict(zip(ids, nearest(targets, sources, source_ids), strict=True))
    return Mixtures.both({**found, **_copies(request)})
