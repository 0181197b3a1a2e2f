"""Which of a few known languages a text is likelier written in, by runs of three letters.

A Markov chain of characters for each language tells them apart from a sentence on
(Dunning 1994, Statistical Identification of Language). It knows only the languages it was
shown: a third one goes by whichever is nearer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

RUN = 3
READ_CHARACTERS = 200_000
UNSEEN = 0.1  # part of the runs that are new in a text of the same language
# Fewer letters are a name or a number, in any language.
LEAST_LETTERS = 20


class LanguageGuess:
    """Learned from text of each language."""

    def __init__(self, samples: Mapping[str, Iterable[str]]) -> None:
        self.counts = {name: _counted(texts) for name, texts in samples.items()}
        self.counts = {name: found for name, found in self.counts.items() if found}
        self.runs = len(set().union(*self.counts.values())) + 1

    def likeliest(self, text: str) -> str:
        """The name of the likeliest language; "" where there is nothing to tell by."""
        runs = _runs(text)
        if len(self.counts) < 2 or sum(map(str.isalpha, text)) < LEAST_LETTERS:
            return ""
        return max(self.counts, key=lambda name: self._score(self.counts[name], runs))

    def _score(self, known: Counter[str], runs: list[str]) -> float:
        """Log-probability. A run that was never seen is as likely in every language, so
        that nothing is told by how much text there was of each."""
        total, least = known.total(), UNSEEN / self.runs
        return sum(math.log((1 - UNSEEN) * known[run] / total + least) for run in runs)


def _runs(text: str) -> list[str]:
    plain = f" {' '.join(text.lower().split())} "
    return [plain[i : i + RUN] for i in range(len(plain) - RUN + 1)]


def _counted(texts: Iterable[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    read = 0
    for text in texts:
        if read >= READ_CHARACTERS:
            break
        part = text[: READ_CHARACTERS - read]
        read += len(part)
        found.update(_runs(part))
    return found
