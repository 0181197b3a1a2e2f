"""Entries of a dictionary as questions for the meaning of a word, both ways.

Several translations of a word are answered together: "maji" is not once "water" and
once "juice".
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from training.data.builders.material import Chat, Material, question
from training.data.builders.wordings import draw, language_name

MOST_MEANINGS = 5


def build(material: Material, dice: random.Random) -> Iterator[tuple[Chat, str]]:
    """(chat, "dictionary") for every word of either side, in random order."""
    entries = list(meanings(material).items())
    dice.shuffle(entries)
    for (word, source, target), found in entries:
        reader, wording = draw(material.wordings, "dictionary", (source, target), dice)
        asked = wording.format(
            word=word,
            source=language_name(source, reader),
            target=language_name(target, reader),
        )
        yield question(asked, ", ".join(found[:MOST_MEANINGS])), "dictionary"


def meanings(material: Material) -> dict[tuple[str, str, str], list[str]]:
    """(word, its language, language of the answer) -> translations, as they were given."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for pair in material.dictionary:
        for source, target in ((0, 1), (1, 0)):
            key = pair.texts[source], pair.languages[source], pair.languages[target]
            known = found.setdefault(key, [])
            if pair.texts[target] not in known:
                known.append(pair.texts[target])
    return found
