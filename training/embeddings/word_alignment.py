"""Which word of a sentence translates which: IBM model 1 with a preference for the
diagonal (fast_align: Dyer, Chahuneau and Smith 2013, model 2 reparameterised).

A target word at place j of n comes from nothing with probability 0.08, else from the
source word at place i of m with a probability proportional to exp(-4 |i/m - j/n|) times
t(target | source), which expectation maximisation learns. Changed: the strength 4 of the
diagonal is fast_align's first value and stays; it learns it. Places are the middles of
words, and probabilities of words are not smoothed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

ITERATIONS = 7  # Trans-tokenization; fast_align's default is 5
NULL = 0.08
TENSION = 4.0
# One entry is a target word with one source word: 32 bytes while it is learned.
MOST_ENTRIES = 20_000_000
MOST_SENTENCES = 300_000
LONGEST = 100  # words of a sentence: longer ones are rarely translations
Sentence = Sequence[str]
Link = tuple[int, int]


@dataclass(frozen=True)
class _Entries:
    """Every target word with every source word of its sentence, and with none.

    `token` numbers the target words, `source_at` the place (-1: none), `pair` numbers
    the different (source, target) word pairs, `source_of` the source word of each pair.
    """

    token: np.ndarray
    source_at: np.ndarray
    pair: np.ndarray
    prior: np.ndarray
    source_of: np.ndarray
    sentence: np.ndarray
    target_at: np.ndarray


def align(pairs: Iterable[tuple[Sentence, Sentence]]) -> list[list[Link]]:
    """For each (source, target) sentence the links (source place, target place).

    A target word has at most one link. Sentences of more than 100 words have none, and
    neither have those after 300,000 sentences or 20 million word pairs.
    """
    sentences = list(islice(pairs, MOST_SENTENCES))
    links: list[list[Link]] = [[] for _ in sentences]
    entries = _entries(sentences)
    if entries is None:
        return links
    chosen = _best(entries, _learn(entries))
    for at in chosen[entries.source_at[chosen] >= 0]:
        token = entries.token[at]
        place = (int(entries.source_at[at]), int(entries.target_at[token]))
        links[entries.sentence[token]].append(place)
    return links


def _entries(sentences: Sequence[tuple[Sentence, Sentence]]) -> _Entries | None:
    sources: dict[str, int] = {"": 0}  # 0: no word
    targets: dict[str, int] = {}
    token, source_at, prior, one, two = [], [], [], [], []
    sentence_of, target_at = [], []
    total = tokens = 0
    for number, (source, target) in enumerate(sentences):
        m, n = len(source), len(target)
        if not (0 < m <= LONGEST and 0 < n <= LONGEST):
            continue
        total += (m + 1) * n
        if total > MOST_ENTRIES:
            break
        here = np.array([0, *(sources.setdefault(w, len(sources)) for w in source)])
        there = np.array([targets.setdefault(w, len(targets)) for w in target])
        token.append(np.repeat(np.arange(tokens, tokens + n), m + 1))
        source_at.append(np.tile(np.arange(-1, m), n))
        prior.append(_prior(m, n))
        one.append(np.tile(here, n))
        two.append(np.repeat(there, m + 1))
        sentence_of.append(np.full(n, number))
        target_at.append(np.arange(n))
        tokens += n
    if not token:
        return None
    keys = np.concatenate(one).astype(np.int64) * len(targets) + np.concatenate(two)
    different, pair = np.unique(keys, return_inverse=True)
    return _Entries(
        np.concatenate(token),
        np.concatenate(source_at),
        pair,
        np.concatenate(prior),
        different // len(targets),
        np.concatenate(sentence_of),
        np.concatenate(target_at),
    )


def _prior(m: int, n: int) -> np.ndarray:
    """Probability of each source place for each target place, as a row of n * (m + 1)."""
    near = np.abs((np.arange(m)[None] + 0.5) / m - (np.arange(n)[:, None] + 0.5) / n)
    weight = np.exp(-TENSION * near)
    weight *= (1 - NULL) / weight.sum(axis=1, keepdims=True)
    return np.hstack([np.full((n, 1), NULL), weight]).ravel()


def _learn(entries: _Entries) -> np.ndarray:
    """The probability of each entry within its target word, after learning."""
    translation = np.ones(len(entries.source_of))
    posterior = entries.prior
    for _ in range(ITERATIONS):
        posterior = entries.prior * translation[entries.pair]
        posterior /= np.bincount(entries.token, weights=posterior)[entries.token]
        counts = np.bincount(entries.pair, weights=posterior)
        translation = (
            counts / np.bincount(entries.source_of, weights=counts)[entries.source_of]
        )
    return posterior


def _best(entries: _Entries, posterior: np.ndarray) -> np.ndarray:
    """The entry of the highest probability of each target word."""
    order = np.lexsort((-posterior, entries.token))
    first = np.ones(len(order), dtype=bool)
    first[1:] = entries.token[order][1:] != entries.token[order][:-1]
    return order[first]
