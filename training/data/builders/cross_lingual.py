"""Asked in one language, answered in another (CrossIn, Lin et al. 2024, arXiv:2404.11932;
x-LLaMA, Zhu et al. 2023, arXiv:2308.04948).

Made from instructions that exist in two languages (the same "id"), and from instructions
whose question or answer stands in the parallel text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from training.data.builders.material import (
    Chat,
    Instruction,
    Material,
    asked_and_answered,
    parallel_instructions,
    question,
)
from training.data.builders.wordings import draw, language_name


def build(material: Material, dice: random.Random) -> Iterator[tuple[Chat, str]]:
    """(chat, "cross_lingual") for each question with an answer in another language."""
    found = [*_of_instructions(material), *_of_pairs(material)]
    dice.shuffle(found)
    for asked, asked_in, answer, answer_in in found:
        reader, wording = draw(material.wordings, "answer_in", (asked_in,), dice)
        name = language_name(answer_in, reader)
        request = wording.format(text=asked, language=name)
        yield question(request, answer), "cross_lingual"


Crossed = tuple[str, str, str, str]


def _of_instructions(material: Material) -> Iterator[Crossed]:
    for one, other in parallel_instructions(material.instructions, material.target):
        yield from _crossed(one, other)
        yield from _crossed(other, one)


def _crossed(asks: Instruction, answers: Instruction) -> Iterator[Crossed]:
    first, second = asked_and_answered(asks), asked_and_answered(answers)
    if first and second:
        yield first[0], asks.language, second[1], answers.language


def _of_pairs(material: Material) -> Iterator[Crossed]:
    """Questions and answers that the parallel text translates."""
    rows = [
        (row.language, *found)
        for row in material.instructions
        if (found := asked_and_answered(row))
    ]
    # There may be millions of pairs; those that say something else are passed over.
    said = {(language, text) for language, *texts in rows for text in texts}
    translations: dict[tuple[str, str], tuple[str, str]] = {}
    for pair in material.pairs if said else ():
        for side in (0, 1):
            key = pair.languages[side], pair.texts[side]
            if key in said:
                translations[key] = pair.languages[1 - side], pair.texts[1 - side]
    for language, asked, answer in rows:
        if other := translations.get((language, asked)):
            yield other[1], other[0], answer, language
        if other := translations.get((language, answer)):
            yield asked, language, other[1], other[0]
