"""Pairs of sentences as requests for a translation, both ways (ALMA, Xu et al. 2024,
arXiv:2309.11674; IKUN; BLOOMZ), some with solved examples before them.

Examples inside the request keep the ability to learn in context, which tuning on bare
requests loses (Alves et al. 2023, "Steering LLMs for MT", arXiv:2310.13448).
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from training.data.builders.material import Chat, Material, question
from training.data.builders.wordings import Wordings, draw, language_name, own_name
from training.data.pairs import Pair, side_of

# A request of bare names ("English: ... Kiswahili:") needs no wording in any language.
SHARE_OF_NAMES = 1 / 3


@dataclass(frozen=True)
class TranslationStyle:
    """`direction` is both, into_target or out_of_target; `few_shot_share` of the
    requests carry up to `few_shot_examples` solved ones."""

    direction: str = "both"
    few_shot_share: float = 0.0
    few_shot_examples: int = 3


def build(
    material: Material, dice: random.Random, style: TranslationStyle
) -> Iterator[tuple[Chat, str]]:
    """(chat, origin) for every pair and direction, in random order; the origin is
    "translations" or "few_shot"."""
    # Twice the place of a pair, and the side that is asked: a number each.
    asked = array(
        "Q",
        (
            2 * place + source
            for place, pair in enumerate(material.pairs)
            for source, _ in directions(pair, material.target, style.direction)
        ),
    )
    dice.shuffle(asked)
    for number in asked:
        place, source = divmod(number, 2)
        pair, target = material.pairs[place], 1 - source
        if dice.random() < style.few_shot_share:
            yield few_shot_chat(pair, source, target, material, dice, style), "few_shot"
        else:
            chat = translation_chat(pair, source, target, dice, material.wordings)
            yield chat, "translations"


def directions(pair: Pair, language: str, direction: str) -> list[tuple[int, int]]:
    """(side asked, side answered) of a pair for a direction."""
    both = [(0, 1), (1, 0)]
    if direction == "both":
        return both
    taught = side_of(pair.languages, language)
    into = direction == "into_target"
    return [
        (source, target)
        for source, target in both
        if (target if into else source) == taught
    ]


def translation_chat(
    pair: Pair, source: int, target: int, dice: random.Random, wordings: Wordings
) -> Chat:
    """A request worded by chance: in English, in one of the pair's languages that
    `wordings` has, or of names alone."""
    first, second = pair.languages[source], pair.languages[target]
    text, answer = pair.texts[source], pair.texts[target]
    if dice.random() < SHARE_OF_NAMES:
        return question(by_names(text, first, second), answer)
    reader, wording = draw(wordings, "translation", (first, second), dice)
    request = wording.format(
        text=text,
        source=language_name(first, reader),
        target=language_name(second, reader),
    )
    return question(request, answer)


def by_names(text: str, source: str, target: str, answer: str = "") -> str:
    """The request that is the same in every language, solved where `answer` is given."""
    asked = f"{own_name(source)}: {text}\n{own_name(target)}:"
    return f"{asked} {answer}" if answer else asked


def few_shot_chat(
    pair: Pair,
    source: int,
    target: int,
    material: Material,
    dice: random.Random,
    style: TranslationStyle,
) -> Chat:
    """The request with solved ones of other pairs of the same languages before it."""
    first, second = pair.languages[source], pair.languages[target]
    shown: list[str] = []
    # Neighbours are tried a few times only: in a small set all may be the pair itself.
    for _ in range(4 * style.few_shot_examples):
        other = dice.choice(material.pairs)
        if len(shown) == style.few_shot_examples:
            break
        if other == pair or {*other.languages} != {first, second}:
            continue
        line = by_names(other.text(first), first, second, other.text(second))
        if line not in shown:
            shown.append(line)
    asked = by_names(pair.texts[source], first, second)
    return question("\n\n".join([*shown, asked]), pair.texts[target])
