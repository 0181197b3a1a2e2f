"""How many new tokens are worth their rows, read off one run of continued BPE.

The merges are nested: the first n of them are what a run for n tokens would have given.
So one run to the limit, replayed over the words of held-out text, shows at every size
how long the text is and how many of the new tokens fire in it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from training.vocabulary.continued_bpe import Grown, Merge, PairCounts, Sequence

# GlossAPI's rule (33 tokenizers measured): the first size where the next 1,024 tokens
# make the text less than 1 % shorter.
AHEAD = 1_024
LEAST_GAIN = 0.01
# Sizes that are looked at: every FINE up to FINE_UNTIL, then every AHEAD.
FINE, FINE_UNTIL = 256, 3_072


@dataclass(frozen=True)
class Point:
    """Held-out text with `added` new tokens: its tokens, how many of the new ones occur
    in it, and the average log probability of a word (natural logarithm; the unigram
    model of the text's own pieces; Zheng et al. 2021, used by UniBridge, Pham et al.
    2024)."""

    added: int
    tokens: int
    used: int
    log_probability: float


def cuts(limit: int) -> list[int]:
    """The sizes to look at, 0 and `limit` among them."""
    fine = range(0, min(limit, FINE_UNTIL), FINE)
    coarse = range(FINE_UNTIL, limit, AHEAD)
    return [*fine, *coarse, limit]


def curve(
    grown: Grown, words: Mapping[Sequence, int], costs: Mapping[int, int]
) -> list[Point]:
    """The curve over `words`, sequences of base pieces with their occurrences.

    `costs`: for each character that may be added, by its id, the base pieces that write
    it as long as it is not.
    """
    counts = PairCounts(words.items(), 1)
    total = max(sum(words.values()), 1)
    done, points = 0, []
    for cut in cuts(grown.tokens):
        end = grown.ends[cut]
        merges, characters = grown.first(cut)
        if len(merges) + len(characters) == end:
            replay(counts, grown.order[done:end])
            done, pieces = end, counts.pieces()
        else:
            # Steps that end here without a use are dropped, and would have stood in
            # the way of later merges: this size is replayed by itself.
            alone = PairCounts(words.items(), 1)
            replay(alone, merges)
            pieces = alone.pieces()
        kept = {merge.made for merge in merges} | set(characters)
        tokens = sum(
            count * (1 if piece in kept else costs.get(piece, 1))
            for piece, count in pieces.items()
        )
        used = sum(pieces[piece] > 0 for piece in kept)
        points.append(Point(cut, tokens, used, _log_likelihood(pieces) / total))
    return points


def replay(counts: PairCounts, order: Iterable[Merge | int]) -> None:
    """Make the merges in their order, as the tokenizer will."""
    for item in order:
        if isinstance(item, Merge) and (item.left, item.right) in counts.counts:
            counts.merge((item.left, item.right), item.made)


def _log_likelihood(pieces: Counter[int]) -> float:
    total = sum(pieces.values())
    return sum(n * math.log(n / total) for n in pieces.values() if n)


def choose(points: list[Point], limit: int, rule: str) -> int:
    """The first size where the next 1,024 tokens, or all there are, gain under 1 %.

    `rule`: "auto", the text gets shorter; "average_log_probability", a word gets more
    probable (UniBridge's measure; its own step and threshold were not at hand, these
    are ours). Never above `limit`.
    """
    by_size = {point.added: point for point in points}
    last = points[-1]
    for point in points:
        ahead = by_size.get(point.added + AHEAD, last)
        if point.added >= limit:
            break
        if rule == "auto":
            gain = 1 - ahead.tokens / max(point.tokens, 1)
        else:
            before = -point.log_probability or 1.0
            gain = (ahead.log_probability - point.log_probability) / before
        if gain < LEAST_GAIN:
            return point.added
    return min(limit, last.added)


def rounded(count: int, first_id: int, multiple: int, limit: int) -> int:
    """`count` so that the highest id ends a multiple of rows: up, or down at the limit.

    0 stays 0: the tokenizer is kept.
    """
    if not count:
        return 0
    up = -(-(first_id + count) // multiple) * multiple - first_id
    if up <= limit:
        return up
    return up - multiple if up > multiple else count
