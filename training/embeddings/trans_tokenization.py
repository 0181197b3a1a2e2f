"""Trans-tokenization: rows by word alignment (Remy et al. 2024, arXiv 2408.04303).

The words of the parallel text are aligned (word_alignment.py). Each pair of aligned words
divides its count between the pieces of both; a token's row is the weighted mean of the
old pieces' rows.

Changed against the paper: pairs seen once are left out, not those seen less than 10
times, because an upload has thousands of sentences and not millions; a token that
nothing maps to keeps the mean of its pieces.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice

from training.embeddings import spread
from training.embeddings.request import Mixtures, Request
from training.embeddings.word_alignment import MOST_SENTENCES, align
from training.embeddings.words import encoded, pieces_of_words, words_of_pairs
from training.errors import MaterialMissing

LEAST_LINKS = 2

Pieces = tuple[int, ...]


def weigh(request: Request) -> Mixtures:
    """Weights over the pieces of aligned words; raises MaterialMissing without pairs."""
    table = spread.counts()
    linked = aligned_pieces(request)
    if not linked:
        raise MaterialMissing(
            "No two words of the parallel text stand together twice.",
            hint="Add more parallel text, or choose another way to start the new rows. "
            "Where a script writes no spaces between words (Thai, Khmer, Lao, Burmese), "
            "put spaces there: words are told by them.",
        )
    for (old_ids, new_ids), count in linked.items():
        spread.spread(table, old_ids, new_ids, count)
    return Mixtures.both(spread.mixtures(request, table))


def aligned_pieces(request: Request) -> Counter[tuple[Pieces, Pieces]]:
    """(old pieces, new pieces) of words that were aligned, and how often."""
    old, new = request.pieces()
    pairs = list(islice(request.pairs(), MOST_SENTENCES))
    sentences = words_of_pairs(pairs)
    found = align(sentences)
    links = Counter(
        (source[i], target[j])
        for (source, target), places in zip(sentences, found, strict=True)
        for i, j in places
    )
    counted: Counter[tuple[Pieces, Pieces]] = Counter()
    old_cut = encoded(old, (one for one, _ in pairs))
    new_cut = encoded(new, (two for _, two in pairs))
    for at, (one, two) in enumerate(zip(old_cut, new_cut, strict=True)):
        source, target = sentences[at]
        old_pieces = pieces_of_words(one, pairs[at][0])
        new_pieces = pieces_of_words(two, pairs[at][1])
        for i, j in found[at]:
            if links[source[i], target[j]] >= LEAST_LINKS:
                counted[old_pieces[i], new_pieces[j]] += 1
    return counted
