"""Rows from a bilingual dictionary (Tik-to-Tok: Remy et al. 2023, arXiv 2310.03477).

Every entry is a word that translates a word: the pieces of the translation give the rows
of the word's pieces, divided as in Trans-tokenization. All entries count the same.
"""

from __future__ import annotations

from training.embeddings import spread
from training.embeddings.lexicon import entries
from training.embeddings.request import Mixtures, Request
from training.embeddings.words import phrase_forms
from training.errors import MaterialMissing


def weigh(request: Request) -> Mixtures:
    """Weights over the pieces of the translations.

    Raises MaterialMissing where there is no entry.
    """
    old, new = request.pieces()
    found = entries(request)
    if not found:
        raise MaterialMissing(
            "The parallel text has no rows of one word, and there is no dictionary.",
            hint="Add a dictionary (words with their translations), or choose "
            "trans_tokenization, which learns from sentences.",
        )
    table = spread.counts()
    old_forms = phrase_forms(old, {one for one, _ in found})
    new_forms = phrase_forms(new, {two for _, two in found})
    for one, two in found:
        for old_ids, new_ids in zip(old_forms[one], new_forms[two], strict=True):
            spread.spread(table, old_ids, new_ids, 1.0)
    return Mixtures.both(spread.mixtures(request, table))
