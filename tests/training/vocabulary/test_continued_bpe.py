"""The indexed merging gives what counting everything anew at each step gives."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from training.vocabulary.continued_bpe import Grown, Merge, PairCounts, grow, weighted


def words(seed: int, pieces: int = 6) -> dict[tuple[int, ...], int]:
    """Words of few different pieces: many repeats of a piece, many equal counts."""
    order = random.Random(seed)
    found: Counter[tuple[int, ...]] = Counter()
    for _ in range(120):
        word = tuple(order.choices(range(pieces), k=order.randint(2, 9)))
        found[word] += order.randint(1, 4)
    return dict(found)


def by_definition(
    found: dict[tuple[int, ...], int], new_tokens: int, least: int, forbidden: set
) -> list[Merge]:
    """Sennrich et al.'s algorithm as it is written down; ties by the older pieces."""
    merges: list[Merge] = []
    while len(merges) < new_tokens:
        counts: Counter[tuple[int, int]] = Counter()
        for word, weight in found.items():
            for pair in zip(word, word[1:], strict=False):
                counts[pair] += weight
        open_ = [(-n, p) for p, n in counts.items() if n >= least]
        open_ = [(n, pair) for n, pair in open_ if pair not in forbidden]
        if not open_:
            break
        negative, pair = min(open_)
        merge = Merge(*pair, 100 + len(merges), -negative)
        merges.append(merge)
        anew: Counter[tuple[int, ...]] = Counter()
        for word, weight in found.items():
            out: list[int] = []
            at = 0
            while at < len(word):
                if word[at : at + 2] == pair:
                    out.append(merge.made)
                    at += 2
                else:
                    out.append(word[at])
                    at += 1
            anew[tuple(out)] += weight
        found = dict(anew)
    return merges


def grown(
    found: dict[tuple[int, ...], int],
    new_tokens: int,
    *,
    least: int = 2,
    forbidden: frozenset = frozenset(),
    steps: frozenset = frozenset(),
    factor: int = 0,
) -> Grown:
    weights = ((word, weighted(count, factor)) for word, count in found.items())
    return grow(
        PairCounts(weights, least),
        first_id=100,
        new_tokens=new_tokens,
        allow=lambda left, right: (left, right) not in forbidden,
        is_step=lambda piece: piece in steps,
        register=lambda made, left, right: None,
    )


@pytest.mark.parametrize("seed", range(8))
def test_merges_are_those_of_the_definition(seed: int) -> None:
    """No piece stands beside itself here: in a run of one piece ("aaa") the pairs
    overlap, and how many there are is nobody's definition."""
    order = random.Random(seed)
    plain = {}
    for _ in range(150):
        word = tuple(order.sample(range(12), k=order.randint(2, 9)))
        plain[word] = order.randint(1, 4)
    free = grown(plain, 40)
    assert free.order == by_definition(plain, 40, 2, set())
    first = free.order[0]
    assert isinstance(first, Merge)
    forbidden = frozenset({(first.left, first.right), (3, 4), (4, 3)})
    without = grown(plain, 40, forbidden=forbidden)
    assert without.order == by_definition(plain, 40, 2, set(forbidden))
    assert {pair for pair, _ in without.vetoed} <= forbidden
    assert without.order != free.order


def test_the_first_of_many_are_those_of_few() -> None:
    steps = frozenset(range(100, 160, 3))
    many = grown(words(3), 40, steps=steps)
    assert many.tokens == 40
    for count in range(41):
        few = grown(words(3), count, steps=steps)
        assert many.first(count) == few.first(count)
        merges, _ = many.first(count)
        used = {part for merge in merges for part in (merge.left, merge.right)}
        assert all(m.made in used for m in merges if m.made in steps)


def test_equal_weights_order_like_no_weights() -> None:
    assert grown(words(5), 40).order == grown(words(5), 40, factor=1_000).order


def test_occurrences_and_weights_are_both_right_after_merges() -> None:
    found = words(6)
    heavy = {word: index % 3 for index, word in enumerate(found)}
    counts = PairCounts(((w, weighted(n, heavy[w])) for w, n in found.items()), 1)
    for made in range(100, 120):
        _, pair = counts.top() or (0, ())
        counts.merge(pair, made)
    real: Counter[tuple[int, int]] = Counter()
    for word, weight in zip(counts.words, counts.weights, strict=True):
        for pair in zip(word, word[1:], strict=False):
            if pair[0] != pair[1]:
                real[pair] += weight
    for pair, count in real.items():
        assert counts.counts.get(pair, count) == count


def test_parts_are_counted_inside_larger_pieces() -> None:
    merges = [Merge(1, 2, 100, 5), Merge(100, 3, 101, 3)]
    done = Grown(merges, [0, 1, 2], frozenset(), [])
    assert done.with_parts(Counter({101: 3, 100: 2, 1: 1})) == {
        101: 3, 100: 5, 3: 3, 1: 6, 2: 5,
    }  # fmt: skip
