"""Pieces weighted by place: the end for the input, the start for the output.

AdaptiVocab (Nakash et al. 2025, arXiv 2503.19693): weights exp(2i) for the input and
exp(-2i) for the output, i the place of the piece. Tied rows are the input's.
"""

from __future__ import annotations

import math

from training.embeddings.request import Mixture, Mixtures, Request, normalised

STEEPNESS = 2.0


def weigh(request: Request) -> Mixtures:
    """Exponential weights in both directions."""
    return Mixtures(
        {token.id: _weights(token.base_ids[::-1]) for token in request.tokens},
        {token.id: _weights(token.base_ids) for token in request.tokens},
    )


def _weights(ids: tuple[int, ...]) -> Mixture:
    """Weights that fall from the first id on."""
    mixture: Mixture = {}
    for place, id_ in enumerate(ids):
        mixture[id_] = mixture.get(id_, 0.0) + math.exp(-STEEPNESS * place)
    return normalised(mixture)
