"""Tasks that bring two languages together (InstructAlign, Cahyawijaya et al. 2023,
arXiv:2305.13627): fill gaps in a sentence with its translation at hand (translation
language modelling), and tell whether two sentences mean the same (cross-lingual semantic
similarity). Translation itself is a builder of its own.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

from training.data.builders.material import Chat, Material, question
from training.data.builders.wordings import draw, language_name
from training.data.pairs import Pair, side_of

GAP = "____"
SHARE_OF_GAPS = 0.3
LEAST_WORDS = 4


def build(material: Material, dice: random.Random) -> Iterator[tuple[Chat, str]]:
    """(chat, "alignment"), by turns a sentence with gaps and a comparison."""
    order = array("Q", range(len(material.pairs)))
    dice.shuffle(order)
    for number, place in enumerate(order):
        pair = material.pairs[place]
        side = side_of(pair.languages, material.target)
        target = 1 if side is None else side
        chat = None
        if number % 2 == 0:
            chat = gaps_chat(pair, target, material, dice)
        yield chat or similarity_chat(pair, target, material, dice), "alignment"


def gaps_chat(
    pair: Pair, target: int, material: Material, dice: random.Random
) -> Chat | None:
    """The sentence with gaps beside its translation; None where it has few words."""
    words = pair.texts[target].split()
    if len(words) < LEAST_WORDS:
        return None
    count = max(1, round(SHARE_OF_GAPS * len(words)))
    hidden = set(dice.sample(range(len(words)), count))
    shown = " ".join(GAP if i in hidden else word for i, word in enumerate(words))
    first, second = pair.languages[1 - target], pair.languages[target]
    reader, wording = draw(material.wordings, "gaps", (first, second), dice)
    asked = wording.format(
        text=pair.texts[1 - target],
        gaps=shown,
        source=language_name(first, reader),
        target=language_name(second, reader),
    )
    return question(asked, pair.texts[target])


def similarity_chat(
    pair: Pair, target: int, material: Material, dice: random.Random
) -> Chat:
    """Whether two sentences mean the same: half of the time the second is of another
    pair."""
    other = dice.choice(material.pairs)
    same = dice.random() < 0.5 or other.languages != pair.languages or other == pair
    shown = (pair if same else other).texts[target]
    first, second = pair.languages[1 - target], pair.languages[target]
    reader, wording = draw(material.wordings, "similarity", (first, second), dice)
    yes, no = material.wordings[reader]["yes_no"]
    asked = wording.format(
        text=pair.texts[1 - target],
        other=shown,
        source=language_name(first, reader),
        target=language_name(second, reader),
    )
    return question(asked, yes if same else no)
