"""Answers in three steps (TaCo, Upadhayay & Behzadan 2023, arXiv:2311.10797): say the
question in the language that the model knows, answer it there, then say the answer in the
language it was asked in.

Costs about three times the tokens of a plain answer; only the last step is for the one
who asked, and `parse_final_answer` finds it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator

from training.data.builders.material import (
    Chat,
    Material,
    asked_and_answered,
    parallel_instructions,
    question,
)
from training.data.builders.wordings import language_name

ASKED, ANSWERED = "Instruction in {}:", "Response in {}:"
LABEL = re.compile(r"(?:^|\n)[ \t]*(Instruction|Response) in ([^:\n]{1,60}):[ \t]*\n?")


def build(material: Material, dice: random.Random) -> Iterator[tuple[Chat, str]]:
    """(chat, "taco") for each instruction that exists in the protected language and in
    the target one."""
    found = parallel_instructions(material.instructions, material.target)
    dice.shuffle(found)
    for known, taught in found:
        one, two = asked_and_answered(known), asked_and_answered(taught)
        if known.language != material.protected or not one or not two:
            continue
        answer = three_steps(*one, two[1], material.protected, material.target)
        yield question(two[0], answer), "taco"


def three_steps(asked: str, answer: str, final: str, known: str, taught: str) -> str:
    """The whole answer; `asked` and `answer` are in `known`, `final` in `taught`."""
    first, second = language_name(known, "en"), language_name(taught, "en")
    return (
        f"{ASKED.format(first)} {asked}\n"
        f"{ANSWERED.format(first)} {answer}\n"
        f"{ANSWERED.format(second)} {final}"
    )


def parse_final_answer(text: str) -> str:
    """The last step of a three-step answer; a text without steps as it is.

    An answer that ended before its last step gives the one it came to: the response in
    the known language, or nothing where not even that was begun.
    """
    labels = list(LABEL.finditer(text))
    if not labels or labels[0].start() != 0 or labels[0][1] != "Instruction":
        return text
    responses = [label for label in labels if label[1] == "Response"]
    return text[responses[-1].end() :].strip() if responses else ""


def final_answer_only(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces of an answer as they are written, the first two of three steps held back.

    A text that does not begin as a three-step answer passes through at once.
    """
    held, streaming = "", False
    beginning = ASKED.partition("{")[0]
    for piece in pieces:
        if streaming:
            yield piece
            continue
        held += piece
        start = held.lstrip()
        if not start.startswith(beginning[: len(start)]):
            streaming = True
            yield held
        elif final := _final_begun(start):
            streaming = True
            yield final
    if held and not streaming:
        yield parse_final_answer(held.lstrip())


def _final_begun(text: str) -> str:
    """What is there of the third step; "" before it."""
    responses = [m for m in LABEL.finditer(text) if m[1] == "Response"]
    return text[responses[1].end() :] if len(responses) > 1 else ""
