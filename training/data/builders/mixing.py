"""Shares to numbers: how many examples of each builder, and which instructions.

A share is a part of all examples that are answered. Instruction rows are all used and
the shares decide what stands beside them, as far as there is material; without rows the
builder with the largest share is used whole and sets the measure for the others.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from itertools import islice

from training.data.builders import Builder
from training.data.builders.material import Chat, Instruction, Material

# What is built may be this much of all answered examples beside instruction rows.
MOST_BUILT = 0.95

Answered = list[tuple[Chat, str]]


def mix(
    material: Material,
    rows: list[Instruction],
    shares: Mapping[str, float],
    builders: Mapping[str, Builder],
    dice: random.Random,
) -> Answered:
    """(turns, origin) of the chosen instruction rows and of every builder by its share."""
    wanted = {name: share for name, share in shares.items() if share > 0}
    total = sum(wanted.values())
    if total > MOST_BUILT and rows:
        wanted = {name: s * MOST_BUILT / total for name, s in wanted.items()}
        total = MOST_BUILT
    found: Answered = [(row.turns, row.origin) for row in rows]
    measure = len(rows) / (1 - total) if rows else 0.0
    for name in sorted(wanted, key=lambda name: -wanted[name]):
        built = builders[name](material, dice)
        if measure:
            found += islice(built, round(wanted[name] * measure))
            continue
        # Nothing yet: this one is used whole.
        first = list(built)
        found += first
        measure = len(first) / wanted[name]
    return found


def choose_instructions(
    rows: list[Instruction],
    *,
    target: str,
    source: str,
    source_share: float,
    target_rows: int,
    dice: random.Random,
) -> list[Instruction]:
    """The rows that are learned from: at most `target_rows` of the target language (0:
    all) and of the language `source` at most `source_share` of all.

    Forty rows in the language among many English ones already help ("Just a pinch of
    multilinguality", Shaham et al. 2024, arXiv:2401.01854); some English kept in keeps
    English. Where there is nothing but the source language, all of it is used.
    """
    taught = [row for row in rows if row.language == target]
    kept = [row for row in rows if row.language == source != target]
    others = [row for row in rows if row.language not in (target, source)]
    if target_rows and target_rows < len(taught):
        taught = dice.sample(taught, target_rows)
    rest = len(taught) + len(others)
    if rest and source_share < 1:
        most = round(rest * source_share / (1 - source_share))
        if most < len(kept):
            kept = dice.sample(kept, most)
    return taught + others + kept


def origins(answered: Answered) -> dict[str, int]:
    """How many examples come from where."""
    return dict(sorted(Counter(origin for _, origin in answered).items()))
