"""Mean of the pieces in, first piece out (EEVE: Kim et al. 2024, arXiv 2402.14714).

The output row is what the model predicts at the place where the word begins: there it
has learned to predict the first piece. Tied rows are the mean.
"""

from __future__ import annotations

from training.embeddings.request import Mixtures, Request, subtoken_mean


def weigh(request: Request) -> Mixtures:
    """The mean for the input, the first piece for the output."""
    return Mixtures(
        {token.id: subtoken_mean(token) for token in request.tokens},
        {token.id: dict.fromkeys(token.base_ids[:1], 1.0) for token in request.tokens},
    )
