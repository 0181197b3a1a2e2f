"""What a comparison of initialisations says to do, in a few sentences.

Two arms differ where their means lie further apart than the larger spread of their seeds
(highest less lowest), and by LEAST at any rate; otherwise nothing is said for one of
them. A single seed has no spread: then the sentences say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from training.embeddings.comparison import KEEP, OBJECTIVES

Figures = dict[Any, Any]  # a summary of training/compare_embeddings.py
LEAST = 0.01  # bits per byte: smaller gaps are nothing that anybody would notice
TARGET, LENGTH = ("end", "target"), ("end", "characters_per_token")


@dataclass(frozen=True)
class Verdict:
    """One arm against another in bits per byte; `gap` > 0 where the second is lower,
    and what a gap must be wider than."""

    gap: float
    spread: float

    @property
    def told_apart(self) -> bool:
        """Whether the gap says more than chance does."""
        return abs(self.gap) > self.spread


def compare(one: Figures, other: Figures) -> Verdict:
    """`one` against `other`, at the end, on the target."""
    (mean, spread), (against, width) = one[TARGET], other[TARGET]
    return Verdict(mean - against, max(spread, width, LEAST))


def recommend(found: Sequence[Figures]) -> list[str]:
    """Sentences: extend or keep, what to begin with, whether to teach rows first."""
    arms = {one["arm"]: one for one in found}
    extended = [one for name, one in arms.items() if "(" not in name and name != KEEP]
    plain = [one for one in extended if one["arm"] not in OBJECTIVES]
    if not extended:
        return ["No way to begin with new tokens was compared."]
    said = []
    if KEEP in arms:
        # Taught rows have read more than the control over the same text.
        said.append(_of_the_tokenizer(_lowest(plain or extended), arms))
    if plain:
        said.append(_of_the_start(plain))
    said += _of_teaching(arms, plain)
    if min(one["seeds"] for one in found) < 2:
        said.append(
            "Some arms have one seed only, so that chance is not known: run it again "
            "with --seeds 1 2 3 before relying on this."
        )
    return said


def _of_the_tokenizer(best: Figures, arms: dict[str, Figures]) -> str:
    """Extend or keep, at equal text where that was measured, else at equal steps."""
    name = f"{KEEP} (bytes)" if f"{KEEP} (bytes)" in arms else KEEP
    equal = "over the same text" if name != KEEP else "over as many tokens"
    kept, verdict = arms[name], compare(arms[name], best)
    times = best[LENGTH][0] / kept[LENGTH][0]
    figures = (
        f"{kept[TARGET][0]:.3f} bits per byte without new tokens, {best[TARGET][0]:.3f} "
        f"with them ({best['arm']}), {equal}"
    )
    if min(kept["seeds"], best["seeds"]) > 1:
        widest = max(kept[TARGET][1], best[TARGET][1])
        figures += f"; seeds differ by {widest:.3f}"
    shorter = f"a token holds {times:.1f} times as much text"
    if not verdict.told_apart:
        return f"Extend, for speed: quality is equal ({figures}), and {shorter}."
    if verdict.gap > 0:
        return f"Extend: {figures}; {shorter}."
    return f"Keep the tokenizer, unless speed matters more ({shorter}): {figures}."


def _of_the_start(plain: Sequence[Figures]) -> str:
    best = _lowest(plain)
    equal = [one["arm"] for one in plain if not compare(one, best).told_apart]
    names = " or ".join(sorted(equal, key=lambda name: name != best["arm"]))
    more = ", which the seeds do not tell apart" if len(equal) > 1 else ""
    return f"Rows of new tokens begin best as {names}{more}."


def _of_teaching(arms: dict[str, Figures], plain: Sequence[Figures]) -> list[str]:
    """Taught rows against the same tokens spent on longer training of everything."""
    taught = [arms[name] for name in OBJECTIVES if name in arms]
    longer = [arms[n] for one in plain if (n := f"{one['arm']} (total)") in arms]
    if not (taught and longer):
        return []
    best, other = _lowest(taught), _lowest(longer)
    verdict = compare(other, best)
    figures = (
        f"({best['arm']} {best[TARGET][0]:.3f}; the same tokens spent on the whole "
        f"model {other[TARGET][0]:.3f})"
    )
    if verdict.told_apart and verdict.gap > 0:
        return [f"Teach the new rows first {figures}."]
    return [f"Teaching the new rows first does not pay for its tokens {figures}."]


def _lowest(arms: Iterable[Figures]) -> Figures:
    return min(arms, key=lambda one: one[TARGET][0])
