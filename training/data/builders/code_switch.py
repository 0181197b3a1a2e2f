"""Questions with words of the other language in them (xCoT, Chai et al. 2024,
arXiv:2401.07037): some words are replaced by their entry in the dictionary, the answer
stays as it is. In scripts without spaces words are looked for at every place of the text
(training/data/dictionary.py).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from training.data.builders.material import Chat, Instruction, Material
from training.data.dictionary import Dictionary, switch
from training.evaluation.tokenizer_figures import UNSPACED

# Letters and the marks on them (which \w leaves out), with apostrophe and hyphen: all but
# blanks, digits and the punctuation of the scripts.
WORD = re.compile(
    r"[^\s\d_!-&(-,./:-@\[-`{-~¡-¿\u2010-\u2018\u201a-\u205e"
    r"\u0964\u0965\u06d4\u061f\u060c\u0f0b-\u0f14\u3000-\u303f\uff00-\uff0f]+"
)


def build(
    material: Material, dice: random.Random, ratio: float = 0.3
) -> Iterator[tuple[Chat, str]]:
    """(chat, "code_switched") for each instruction in which a word was replaced; a word
    that the dictionary knows is replaced with the probability `ratio`."""
    words = entries(material)
    unspaced = without_spaces(words)
    order = list(material.instructions)
    dice.shuffle(order)
    for row in order:
        turns = switched(row, words, unspaced, dice, ratio)
        if turns is not None:
            yield turns, "code_switched"


def entries(material: Material) -> dict[tuple[str, str], list[str]]:
    """(language, word in lower case) -> its translations; single words only."""
    found: dict[tuple[str, str], list[str]] = {}
    for pair in material.dictionary:
        for side in (0, 1):
            word, other = pair.texts[side], pair.texts[1 - side]
            if WORD.fullmatch(word):
                known = found.setdefault((pair.languages[side], word.lower()), [])
                known.append(other)
    return found


def without_spaces(
    words: dict[tuple[str, str], list[str]],
) -> dict[str, Dictionary]:
    """By language the entries of scripts without spaces."""
    found: dict[str, Dictionary] = {}
    for (language, word), meanings in words.items():
        if UNSPACED.match(word):
            found.setdefault(language, Dictionary()).meanings[(word,)] = meanings
    return found


def switched(
    row: Instruction,
    words: dict[tuple[str, str], list[str]],
    unspaced: dict[str, Dictionary],
    dice: random.Random,
    ratio: float,
) -> Chat | None:
    """The turns with words of the questions replaced; None where none was."""
    changed = False

    def other(match: re.Match[str]) -> str:
        nonlocal changed
        if UNSPACED.match(match[0]) and row.language in unspaced:
            seed = dice.getrandbits(32)
            made = switch(match[0], unspaced[row.language], share=ratio, seed=seed)
            changed = changed or made != match[0]
            return made
        known = words.get((row.language, match[0].lower()))
        if not known or dice.random() >= ratio:
            return match[0]
        changed = True
        return dice.choice(known)

    turns = [
        {**turn, "content": WORD.sub(other, turn["content"])}
        if turn["role"] == "user"
        else turn
        for turn in row.turns
    ]
    return turns if changed else None
