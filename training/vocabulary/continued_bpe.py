"""Continued BPE: the most frequent pair of pieces becomes a piece, again and again.

The algorithm of byte-pair encoding (Sennrich et al. 2016) begun not at letters but at the
pieces an existing tokenizer cuts words into. Its merges come after all old ones, so that
every old decision stands and every new piece can be reached (Purason et al. 2025).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Sequence = tuple[int, ...]

# One whole number carries two counts, so that both are right after every merge: the
# weighted count, by which pairs are ordered, above the occurrences, of which a piece
# needs enough. Without weights it is the occurrences alone.
OCCURRENCE_BITS = 48
OCCURRENCES = (1 << OCCURRENCE_BITS) - 1


def weighted(occurrences: int, factor: int) -> int:
    """The two counts in one; a `factor` of 0 means that nothing is weighted."""
    return (occurrences * factor << OCCURRENCE_BITS) + occurrences


@dataclass(frozen=True)
class Merge:
    """`left` and `right` become `made`; they stood together `occurrences` times."""

    left: int
    right: int
    made: int
    occurrences: int


@dataclass(frozen=True)
class Grown:
    """Merges and characters (by id) in the order in which they were chosen.

    `ends[n]` is how many of them make n tokens. `steps` are pieces that are only a part
    of a character; `vetoed` are the pairs that were refused, with their occurrences.
    """

    order: list[Merge | int]
    ends: list[int]
    steps: frozenset[int]
    vetoed: list[tuple[Sequence, int]]

    @property
    def tokens(self) -> int:
        """How many tokens there are at most."""
        return len(self.ends) - 1

    def first(self, count: int) -> tuple[list[Merge], list[int]]:
        """The merges and characters of the first `count` tokens, as if no more had
        been asked for: steps that end without a use are dropped."""
        end = self.ends[min(count, self.tokens)]
        merges = [item for item in self.order[:end] if isinstance(item, Merge)]
        characters = [item for item in self.order[:end] if isinstance(item, int)]
        used = {part for merge in merges for part in (merge.left, merge.right)}
        made = {merge.made for merge in merges}
        return _without(merges, (self.steps & made) - used), characters

    def with_parts(self, pieces: Counter[int]) -> Counter[int]:
        """How often each piece occurs, inside of larger new pieces too."""
        pieces = Counter(pieces)
        for item in reversed(self.order):
            if isinstance(item, Merge) and (count := pieces[item.made]):
                pieces[item.left] += count
                pieces[item.right] += count
        return pieces


class PairCounts:
    """Words as sequences of piece ids, their pairs counted and found again quickly.

    Pairs with fewer occurrences than `least` are never indexed: the count of a pair only
    ever falls once its pieces exist, so it cannot become frequent later. Weights are
    occurrences or come from `weighted`.
    """

    def __init__(self, words: Iterable[tuple[Sequence, int]], least: int) -> None:
        self.least = least
        self.words: list[list[int]] = []
        self.weights: list[int] = []
        self.counts: dict[Sequence, int] = {}
        self.where: dict[Sequence, list[int]] = {}
        for word, weight in words:
            self.words.append(list(word))
            self.weights.append(weight)
        self._count()
        self.heap = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self.heap)

    def _count(self) -> None:
        counts: dict[Sequence, int] = {}
        for word, weight in zip(self.words, self.weights, strict=True):
            for pair in zip(word, word[1:], strict=False):
                counts[pair] = counts.get(pair, 0) + weight
        self.counts = {
            pair: count
            for pair, count in counts.items()
            if count & OCCURRENCES >= self.least
        }
        self.where = {pair: [] for pair in self.counts}
        for index, word in enumerate(self.words):
            for pair in zip(word, word[1:], strict=False):
                if pair in self.where:
                    self.where[pair].append(index)

    def top(self) -> tuple[int, Sequence] | None:
        """The most frequent pair and its count, ties by the older pieces; kept inside."""
        while self.heap:
            negative, pair = self.heap[0]
            count = self.counts.get(pair, 0)
            if count == -negative:
                return count, pair
            # An entry from before the count fell: put the true one in its place.
            if count & OCCURRENCES >= self.least:
                heapq.heapreplace(self.heap, (-count, pair))
            else:
                heapq.heappop(self.heap)
        return None

    def pieces(self, start: int = 0, end: int | None = None) -> Counter[int]:
        """Occurrences of each piece in the words from `start` to `end`, as they are."""
        found: Counter[int] = Counter()
        weights = self.weights[start:end]
        for word, weight in zip(self.words[start:end], weights, strict=True):
            occurrences = weight & OCCURRENCES
            for piece in word:
                found[piece] += occurrences
        return found

    def forbid(self, pair: Sequence) -> None:
        """Never offer this pair again."""
        self.counts.pop(pair, None)
        self.where.pop(pair, None)

    def merge(self, pair: Sequence, made: int) -> None:
        """Put `made` in the place of `pair` in every word."""
        counts = self.counts
        fresh: dict[Sequence, int] = {}
        places: dict[Sequence, list[int]] = {}
        indices = self.where.pop(pair)
        counts.pop(pair)
        left, right = pair
        for index in dict.fromkeys(indices):
            word, weight = self.words[index], self.weights[index]
            at = 0
            while True:
                try:
                    at = word.index(left, at)
                except ValueError:
                    break
                if at + 1 >= len(word) or word[at + 1] != right:
                    at += 1
                    continue
                if at:
                    before = word[at - 1]
                    if before == made:
                        fresh[made, left] -= weight
                    elif (before, left) in counts:
                        counts[before, left] -= weight
                    new = (before, made)
                    fresh[new] = fresh.get(new, 0) + weight
                    places.setdefault(new, []).append(index)
                if at + 2 < len(word):
                    after = word[at + 2]
                    if (right, after) in counts:
                        counts[right, after] -= weight
                    new = (made, after)
                    fresh[new] = fresh.get(new, 0) + weight
                    places.setdefault(new, []).append(index)
                word[at : at + 2] = [made]
                at += 1
        for new, count in fresh.items():
            if count & OCCURRENCES >= self.least:
                counts[new] = count
                self.where[new] = places[new]
                heapq.heappush(self.heap, (-count, new))


def grow(
    counts: PairCounts,
    *,
    first_id: int,
    new_tokens: int,
    allow: Callable[[int, int], bool],
    is_step: Callable[[int], bool],
    register: Callable[[int, int, int], None],
    characters: Iterable[tuple[int, int]] = (),
) -> Grown:
    """Merges and characters, in order, until there are `new_tokens` of both.

    `allow(left, right)` vetoes; `register(made, left, right)` hears of each piece;
    `is_step(piece)` tells pieces that are only a step to a character: those that end
    without a use are dropped and do not count. `characters` are (id, tokens saved),
    most useful first: each is taken before a pair that saves less.
    """
    order: list[Merge | int] = []
    ends = [0]
    steps: set[int] = set()
    vetoed: list[tuple[Sequence, int]] = []
    unused_steps: set[int] = set()
    waiting = iter(characters)
    next_character = next(waiting, None)
    made = first_id
    while len(ends) <= new_tokens:
        top = counts.top()
        if next_character and (top is None or next_character[1] >= top[0]):
            order.append(next_character[0])
            next_character = next(waiting, None)
        elif top is None:
            break
        else:
            count, pair = top
            if not allow(*pair):
                counts.forbid(pair)
                vetoed.append((pair, count & OCCURRENCES))
                continue
            counts.merge(pair, made)
            register(made, *pair)
            unused_steps.difference_update(pair)
            if is_step(made):
                steps.add(made)
                unused_steps.add(made)
            order.append(Merge(*pair, made, count & OCCURRENCES))
            made += 1
        # A merge that uses two steps makes three tokens at once.
        while len(ends) <= len(order) - len(unused_steps):
            ends.append(len(order))
    return Grown(order, ends, frozenset(steps), vetoed)


def _without(merges: list[Merge], unused: set[int]) -> list[Merge]:
    """The merges whose piece is used; a step to an unused step is itself unused."""
    kept: list[Merge] = []
    used: set[int] = set()
    unused = set(unused)
    steps = {merge.made: merge for merge in merges}
    for merge in reversed(merges):
        if merge.made in unused and merge.made not in used:
            for part in (merge.left, merge.right):
                if part in steps and part not in used:
                    unused.add(part)
            continue
        used.update((merge.left, merge.right))
        kept.append(merge)
    return kept[::-1]
