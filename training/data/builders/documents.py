"""Raw documents as instructions: go on with a text, name its title, sum it up.

They teach to write in the language where there is nothing but plain text (the
reformulated documents of the instruction pretraining line, e.g. Cheng et al. 2024,
arXiv:2406.14491). A title is taken where a text has one or its first line looks like one,
a summary only where it is given.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from training.data.builders.material import Chat, Document, Material, question
from training.data.builders.wordings import draw
from training.data.passages import cut
from training.spec import (
    ANSWERED_CHARACTERS,
    SHOWN_CHARACTERS,
    SHOWN_TO_NAME,
    SHOWN_TO_SUM_UP,
    TITLE_CHARACTERS,
)

# Characters: what is shown and what is answered.
LEAST_SHOWN, LEAST_ANSWERED = 30, 40
SENTENCE_ENDS = (
    ".",
    "!",
    "?",
    "…",
    ":",
    ",",
    ";",
    "।",
    "॥",
    "۔",
    "؟",
    "。",
    "！",
    "？",
    "།",
)


def build(material: Material, dice: random.Random) -> Iterator[tuple[Chat, str]]:
    """(chat, "documents"): one task for each document that allows one, by chance."""
    order = list(material.documents)
    dice.shuffle(order)
    for document in order:
        tasks = [task for task in TASKS if TASKS[task](document)]
        if not tasks:
            continue
        task = dice.choice(tasks)
        found = TASKS[task](document)
        assert found is not None
        text, answer = found
        _, wording = draw(material.wordings, task, (document.language,), dice)
        yield question(wording.format(text=text), answer), "documents"


def continuation(document: Document) -> tuple[str, str] | None:
    """The beginning of the text and what follows it."""
    parts = cut(document.text, min(SHOWN_CHARACTERS, max(1, len(document.text) // 2)))
    shown = next(parts, "")
    rest = "".join(parts)
    answer = next(cut(rest, ANSWERED_CHARACTERS), "").strip()
    if len(shown.strip()) < LEAST_SHOWN or len(answer) < LEAST_ANSWERED:
        return None
    return shown.strip(), answer


def title(document: Document) -> tuple[str, str] | None:
    """The text and its title."""
    name, body = document.title, document.text
    if not name:
        name, body = split_title(document.text)
    if not name or len(body) < LEAST_SHOWN:
        return None
    return next(cut(body, SHOWN_TO_NAME)).strip(), name


def summary(document: Document) -> tuple[str, str] | None:
    """The text and the summary that came with it."""
    if not document.summary or len(document.text) <= len(document.summary):
        return None
    return next(cut(document.text, SHOWN_TO_SUM_UP)).strip(), document.summary


def split_title(text: str) -> tuple[str, str]:
    """(first line, rest) where the first line looks like a title, else ("", text).

    A title is short, ends no sentence and stands over a text many times as long.
    """
    first, _, rest = text.strip().partition("\n")
    first, rest = first.strip(" #*=\t"), rest.strip()
    if not first or len(first) > TITLE_CHARACTERS or first.endswith(SENTENCE_ENDS):
        return "", text
    if len(rest) < 4 * len(first):
        return "", text
    return first, rest


TASKS = {"continuation": continuation, "title": title, "summary": summary}
