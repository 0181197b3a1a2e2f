"""Several languages share the new tokens: how much each language's words count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

# A factor is a whole number: so many parts of a word's weight.
PARTS = 1_000
# Rounds of raising a language that has less than its share, and by how much each time.
ROUNDS = 8
RAISE = 2

Labelled = str | tuple[str, str]


def labelled(texts: Iterable[Labelled]) -> Iterator[tuple[str, str]]:
    """(language, text) of texts that are (language, text) or a text alone ("")."""
    for item in texts:
        yield ("", item) if isinstance(item, str) else item


def factors(characters: Mapping[str, int], exponent: float) -> dict[str, int]:
    """What a word of each language counts, in parts of PARTS.

    A language with n of all N characters is read with the probability (n / N) ** e,
    normalised, instead of n / N (Lample and Conneau 2019; XLM-R takes e = 0.3): its
    words count the quotient of the two. 0 everywhere means that nothing is weighted.
    """
    present = {name: count for name, count in characters.items() if count}
    if exponent == 1 or len(present) < 2:
        return dict.fromkeys(characters, 0)
    total = sum(present.values())
    shares = {name: count / total for name, count in present.items()}
    normal = sum(share**exponent for share in shares.values())
    found = dict.fromkeys(characters, PARTS)
    for name, share in shares.items():
        found[name] = max(round(PARTS * share ** (exponent - 1) / normal), 1)
    return found


def short(tokens: Mapping[str, int], least_share: float) -> set[str]:
    """The languages that have less than this share of the tokens."""
    least = least_share * sum(tokens.values())
    return {name for name, count in tokens.items() if count < least}


def raised(before: Mapping[str, int], short_ones: set[str]) -> dict[str, int]:
    """The factors, doubled for some languages."""
    return {
        name: (factor or PARTS) * (RAISE if name in short_ones else 1)
        for name, factor in before.items()
    }


def owners(
    occurrences: Mapping[str, Counter[int]],
    characters: Mapping[str, int],
    tokens: Iterable[int],
) -> Counter[str]:
    """How many tokens each language has.

    A token is that language's in whose text it is most frequent for its length; the
    first by name where several are equal. How much the languages count plays no part.
    """
    names = sorted(occurrences)
    found: Counter[str] = Counter(dict.fromkeys(names, 0))
    for token in tokens:
        best = max(
            names, key=lambda name: occurrences[name][token] / max(characters[name], 1)
        )
        found[best] += 1
    return found
