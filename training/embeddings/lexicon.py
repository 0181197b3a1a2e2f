"""Pairs of words that translate each other: from a dictionary or from parallel text."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from training.embeddings.request import Request
from training.embeddings.word_alignment import MOST_SENTENCES, align
from training.embeddings.words import words, words_of_pairs

# A row of parallel text with one word of the language and so few of the other is an
# entry of a word list.
MOST_WORDS_OF_AN_ENTRY = 3
# A pair of words that were aligned less often is left out of the rotation's pairs.
LEAST_LINKS = 2


def entries(request: Request) -> list[tuple[str, str]]:
    """(base's words, target words) of the dictionary, then of parallel rows of a word."""
    found = [(one.strip(), two.strip()) for one, two in request.dictionary()]
    for one, two in request.pairs():
        if len(words(two)) == 1 and len(words(one)) <= MOST_WORDS_OF_AN_ENTRY:
            found.append((one.strip(), two.strip()))
    return list(dict.fromkeys(found))


def word_pairs(request: Request) -> list[tuple[str, str]]:
    """(base's word, target word) in small letters, one word each.

    From the dictionary; without entries, from parallel text: pairs of which each word is
    the one most often aligned with the other.
    """
    single = [
        (one[0], two[0])
        for one, two in ((words(a), words(b)) for a, b in entries(request))
        if len(one) == len(two) == 1
    ]
    return single if single else _aligned(request)


def _aligned(request: Request) -> list[tuple[str, str]]:
    pairs = islice(request.pairs(), MOST_SENTENCES)
    sentences = words_of_pairs(pairs)
    links: Counter[tuple[str, str]] = Counter()
    for (one, two), found in zip(sentences, align(sentences), strict=True):
        links.update((one[i], two[j]) for i, j in found)
    ahead: dict[str, tuple[str, str]] = {}
    back: dict[str, tuple[str, str]] = {}
    for pair, count in links.most_common():
        if count >= LEAST_LINKS and pair[0].isalpha():
            ahead.setdefault(pair[0], pair)
            back.setdefault(pair[1], pair)
    return [pair for pair in ahead.values() if back[pair[1]] == pair]
