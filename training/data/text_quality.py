"""Whether a piece of generated text is worth learning from."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

# A text repeats itself where its commonest run of so many words is this part of all.
RUN_WORDS, REPEATED_SHARE = 4, 0.2
# The same for scripts that write no spaces, in characters.
RUN_CHARACTERS = 12
# Letters of a text in the script that the language is written in, at least.
SCRIPT_SHARE = 0.5


def repeats_itself(text: str) -> bool:
    """Whether the text goes round in circles, as small models do."""
    words = text.split()
    if len(words) >= 2 * RUN_WORDS:
        return _commonest(words, RUN_WORDS) > REPEATED_SHARE
    if len(text) >= 4 * RUN_CHARACTERS:
        return _commonest(list(text), RUN_CHARACTERS) > REPEATED_SHARE
    return False


def _commonest(parts: list[str], size: int) -> float:
    """Part of the text that the repetitions of its commonest run take."""
    runs = Counter(tuple(parts[i : i + size]) for i in range(len(parts) - size + 1))
    most = max(runs.values())
    return 0.0 if most == 1 else most * size / len(parts)


def scripts(text: str) -> Counter[str]:
    """Letters by script, told from the first word of their Unicode names."""
    found: Counter[str] = Counter()
    for character in text:
        if character.isalpha():
            found[unicodedata.name(character, "?").split(" ")[0]] += 1
    return found


def usual_scripts(texts: Iterable[str]) -> set[str]:
    """Scripts that make up a tenth of the letters or more."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(scripts(text))
    total = sum(found.values())
    return {script for script, count in found.items() if count >= 0.1 * total}


def in_scripts(text: str, usual: set[str]) -> bool:
    """Whether most letters are of the scripts; a text without letters is."""
    found = scripts(text)
    total = sum(found.values())
    if not total or not usual:
        return True
    return sum(found[script] for script in usual) >= SCRIPT_SHARE * total


def chrf(candidate: str, reference: str, *, order: int = 6, beta: float = 2.0) -> float:
    """chrF in percent (Popovic 2015): F-score of character n-grams, recall counting
    `beta` times as much; blanks left out, averaged over the orders that both have."""
    one, two = "".join(candidate.split()), "".join(reference.split())
    precisions, recalls = [], []
    for size in range(1, order + 1):
        a = Counter(one[i : i + size] for i in range(len(one) - size + 1))
        b = Counter(two[i : i + size] for i in range(len(two) - size + 1))
        if not a or not b:
            continue
        shared = sum((a & b).values())
        precisions.append(shared / sum(a.values()))
        recalls.append(shared / sum(b.values()))
    if not precisions:
        return 0.0
    precision = sum(precisions) / len(precisions)
    recall = sum(recalls) / len(recalls)
    if precision + recall == 0:
        return 0.0
    weight = beta * beta
    return 100 * (1 + weight) * precision * recall / (weight * precision + recall)
