"""What part of the training text each source gives, and when.

Pure arithmetic over bytes. The whole is divided by role (replay, translations,
instructions; the rest is plain text that is learned); within a role, languages are
divided by size with an exponent: a language with n bytes has a weight of n^a (Conneau et
al. 2020: 0.3; also in MaLA-500 and EMMA-500; 1 is by size, 0 gives all the same; for
families of small languages values near 0 cost the large ones little: Downey et al. 2024,
"Targeted Multilingual Adaptation for Low-resource Language Families").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.settings.mix_stages import ROLES, TEXT, read_stages

__all__ = ["ROLES", "TEXT", "read_stages"]

Shares = tuple[float, ...]


@dataclass(frozen=True)
class Source:
    """A role, a language ("" where there is no single one) and its UTF-8 bytes."""

    role: str
    language: str
    bytes: int


def by_size(sizes: Sequence[float], exponent: float) -> list[float]:
    """Shares that add up to 1 and go with size^exponent; empty sources get nothing."""
    weights = [size**exponent if size > 0 else 0.0 for size in sizes]
    total = sum(weights)
    return [weight / total if total else 0.0 for weight in weights]


def shares_of(
    sources: Sequence[Source],
    roles: Mapping[str, float],
    *,
    exponent: float,
    target_share: float = 0.0,
    only: frozenset[str] | None = None,
) -> Shares:
    """The share of each source.

    `roles` says how much each role has, TEXT for target and related together; of that
    the target has `target_share`, where it is above 0 and there is related text, else
    what its size says. `only`: of TEXT these languages alone are read.
    """
    found = [0.0] * len(sources)

    def give(share: float, among: list[int]) -> None:
        parts = by_size([sources[i].bytes for i in among], exponent)
        for index, part in zip(among, parts, strict=True):
            found[index] += share * part

    for role, share in roles.items():
        if role != TEXT:
            give(share, [i for i, s in enumerate(sources) if s.role == role])
            continue
        text = [
            i
            for i, source in enumerate(sources)
            if source.role in ("target", "related")
            and (only is None or source.language in only)
        ]
        target = [i for i in text if sources[i].role == "target" and sources[i].bytes]
        related = [i for i in text if sources[i].role == "related" and sources[i].bytes]
        if target_share and target and related:
            give(share * target_share, target)
            give(share * (1 - target_share), related)
        else:
            give(share, text)
    return tuple(found)


def high_resource(sources: Sequence[Source]) -> frozenset[str]:
    """The larger half of the languages that are learned (the larger one of two)."""
    sizes: dict[str, int] = {}
    for source in sources:
        if source.role in ("target", "related") and source.bytes:
            sizes[source.language] = sizes.get(source.language, 0) + source.bytes
    ordered = sorted(sizes, key=lambda language: (-sizes[language], language))
    return frozenset(ordered[: (len(ordered) + 1) // 2])
