"""The mean of the rows of the old pieces a token stands for.

Fast vocabulary transfer (Gee et al. 2022), "ReTok", "subtoken mean". The pieces are those
that the old tokenizer's merges give for the token's internal form: cutting the decoded
text instead costs 0.23 bits per byte at step 0.
"""

from __future__ import annotations

from training.embeddings.request import Mixtures, Request, subtoken_mean


def weigh(request: Request) -> Mixtures:
    """Equal weights for the pieces."""
    return Mixtures.both({token.id: subtoken_mean(token) for token in request.tokens})
