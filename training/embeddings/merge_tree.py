"""The mean of the two parts a token was merged from, and so down to old tokens.

"Merge" of Yamaguchi et al. 2024 (arXiv 2406.11477). A part that is an old token counts
as one row, however long: "abc" + "d" gives d one half, where the mean of the pieces a, b,
c, d gives it a quarter.
"""

from __future__ import annotations

from training.embeddings.request import Mixture, Mixtures, Request, subtoken_mean


def weigh(request: Request) -> Mixtures:
    """Weights of one half for each merge; a token without parts has its pieces' mean."""
    made: dict[int, Mixture] = {}
    # A part has its id before the token made of it.
    for token in sorted(request.tokens, key=lambda token: token.id):
        mixture: Mixture = {}
        for part in token.parts:
            old = request.old_id(part)
            known = made.get(part, {}) if old is None else {old: 1.0}
            for id_, weight in known.items():
                mixture[id_] = mixture.get(id_, 0.0) + weight / len(token.parts)
        made[token.id] = mixture if mixture else subtoken_mean(token)
    return Mixtures.both(made)
