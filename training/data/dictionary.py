"""Words and names of a dictionary, found in running text and used there.

Two ways of letting a model see which word of the language it knows already:

insert: after a mention its translation stands between marks, and is read but not learned
(LEIA: Yamada and Ri 2024, "Leveraging Entity-based Data Augmentation": English names
after entity mentions; the loss is not taken on them; half of the mentions are left out,
so that a model does not wait for a name after each).

switch: a word is replaced by its translation (code-switching: Chai et al. 2024, "xCoT";
Zhang et al. 2024, "LinguaLIFT").

What happens to a text follows from its own characters and the seed.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from training.data.pairs import side_of
from training.evaluation.tokenizer_figures import UNSPACED

# Words of a phrase, and characters of one in a script without spaces, at most.
LONGEST_PHRASE, LONGEST_UNSPACED = 6, 12
MARKS = {"parentheses": (" (", ")"), "tags": ("<translate>", "</translate>")}
# Signs that belong to the letter before them although Unicode calls them letters (vowels
# of Thai and Lao), and what binds the letter behind it: vowels that are written first,
# and the signs that stack letters (Burmese, Khmer).
FOLLOWING = re.compile("[\u0e30-\u0e3a\u0e45\u0eb0-\u0ebc]")
BINDING = re.compile("[\u0e40-\u0e44\u0ec0-\u0ec4\u1039\u17d2]")
# Inside a word although they are no letters.
JOINERS = "'’-\u200c\u200d"


@dataclass(frozen=True)
class Mention:
    """Characters `start` to `stop` of a text, and what they mean."""

    start: int
    stop: int
    meanings: tuple[str, ...]


@dataclass
class Dictionary:
    """Words and phrases of a language with their translations.

    `meanings` by the words of a phrase, `longest` by its first word: how many words the
    longest phrase that begins with it has.
    """

    meanings: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    longest: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[dict[str, Any]], language: str) -> Dictionary:
        """Out of rows {"source", "target", "languages"}; rows of other languages and
        entries that say the same on both sides are left out.
        """
        made = cls()
        for row in rows:
            sides = [str(row.get(side) or "").strip() for side in ("source", "target")]
            here = side_of(row["languages"], language)
            if here is None:
                continue
            key, meaning = _key(sides[here]), sides[1 - here]
            if not key or not meaning or key == _key(meaning):
                continue
            known = made.meanings.setdefault(key, [])
            if meaning not in known:
                known.append(meaning)
            longest = min(max(made.longest.get(key[0], 0), len(key)), LONGEST_PHRASE)
            made.longest[key[0]] = longest
        return made

    def mentions(self, text: str) -> Iterator[Mention]:
        """Words and phrases of the dictionary in a text, longest first, none inside
        another. Words are whole; in scripts without spaces any characters may be."""
        spans = list(word_spans(text))
        words = [_folded(text[start:stop]) for start, stop in spans]
        number = 0
        while number < len(words):
            start, stop = spans[number]
            if UNSPACED.match(text[start]):
                yield from self._unspaced(text, start, stop)
                number += 1
                continue
            count = self._phrase(text, spans, words, number)
            if count:
                last = spans[number + count - 1][1]
                found = self.meanings[tuple(words[number : number + count])]
                yield Mention(start, last, tuple(found))
            number += count or 1

    def _phrase(
        self, text: str, spans: list[tuple[int, int]], words: list[str], number: int
    ) -> int:
        """How many words from `number` on are an entry; words of one phrase have one
        space or one tsheg between them."""
        most = self.longest.get(words[number], 0)
        room = 1
        while room < most and number + room < len(words):
            gap = text[spans[number + room - 1][1] : spans[number + room][0]]
            if gap.strip() not in ("", "་"):
                break
            room += 1
        for count in range(min(most, room), 0, -1):
            if tuple(words[number : number + count]) in self.meanings:
                return count
        return 0

    def _unspaced(self, text: str, start: int, stop: int) -> Iterator[Mention]:
        while start < stop:
            first = divides(text, start)
            for last in range(min(stop, start + LONGEST_UNSPACED), start, -1):
                if not (first and divides(text, last)):
                    continue
                found = self.meanings.get((_folded(text[start:last]),))
                if found:
                    yield Mention(start, last, tuple(found))
                    start = last
                    break
            else:
                start += 1


def insert(
    text: str, dictionary: Dictionary, *, share: float, marks: str, seed: int
) -> tuple[str, list[tuple[int, int]]]:
    """The text with translations after a `share` of its mentions.

    Also returns the spans of characters that were inserted, marks with them. `marks` is a
    key of MARKS.
    """
    before, after = MARKS[marks]
    dice = _dice(text, "insert", seed)
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    done = length = 0
    for mention in dictionary.mentions(text):
        if dice.random() >= share:
            continue
        pieces += [text[done : mention.stop]]
        length += mention.stop - done
        added = before + dice.choice(mention.meanings) + after
        pieces.append(added)
        spans.append((length, length + len(added)))
        length += len(added)
        done = mention.stop
    return "".join([*pieces, text[done:]]), spans


def switch(text: str, dictionary: Dictionary, *, share: float, seed: int) -> str:
    """The text with a `share` of its known words replaced by their translation."""
    dice = _dice(text, "switch", seed)
    pieces, done = [], 0
    for mention in dictionary.mentions(text):
        if dice.random() < share:
            pieces += [text[done : mention.start], dice.choice(mention.meanings)]
            done = mention.stop
    return _side_by_side([*pieces, text[done:]])


def _side_by_side(pieces: Iterable[str]) -> str:
    """One text, with a space where two letters meet of which neither is of a script
    without spaces: neighbours that were replaced there would become one word."""
    made: list[str] = []
    for piece in filter(None, pieces):
        meet = made[-1][-1] + piece[0] if made else ""
        if meet.isalnum() and not UNSPACED.search(meet):
            made.append(" ")
        made.append(piece)
    return "".join(made)


def divides(text: str, place: int) -> bool:
    """Whether a text in a script without spaces can be divided before this character: not
    within a letter with its vowels and marks."""
    if not 0 < place < len(text):
        return True
    letter = text[place]
    bound = unicodedata.category(letter)[0] == "M" or FOLLOWING.match(letter)
    return not bound and not BINDING.match(text[place - 1])


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where words stand: runs without white space, punctuation and symbols. The tsheg
    of Tibetan is punctuation: there a syllable counts as a word."""
    for match in WORD.finditer(text.translate(APART)):
        start, stop = match.span()
        while start < stop and text[start] in JOINERS:
            start += 1
        while stop > start and text[stop - 1] in JOINERS:
            stop -= 1
        if stop > start:
            yield start, stop


class _Apart(dict[int, int]):
    """Characters that stand between words become spaces; learned as they are met."""

    def __missing__(self, number: int) -> int:
        letter = chr(number)
        apart = unicodedata.category(letter)[0] in "PSZC" and letter not in JOINERS
        self[number] = ord(" ") if apart else number
        return self[number]


APART = _Apart()
WORD = re.compile(r"[^ ]+")


def _key(phrase: str) -> tuple[str, ...]:
    return tuple(_folded(phrase[start:stop]) for start, stop in word_spans(phrase))


def _folded(word: str) -> str:
    return unicodedata.normalize("NFC", word.casefold())


def _dice(text: str, purpose: str, seed: int) -> random.Random:
    return random.Random(f"{seed} {purpose} {text}")  # noqa: S311 - no secret
