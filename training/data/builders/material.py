"""What a community has, in the form that every builder reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.data.conversations import Message, as_messages
from training.data.pairs import Pair

Chat = list[Message]


@dataclass(frozen=True)
class Instruction:
    """Turns that end with an answer. Rows of two languages that have the same `key` say
    the same; `origin` is where the row came from."""

    turns: Chat
    language: str
    key: str = ""
    origin: str = "instructions"


@dataclass(frozen=True)
class Document:
    """A text in the target language, with title and summary where they are known."""

    text: str
    language: str
    title: str = ""
    summary: str = ""


@dataclass
class Material:
    """Everything that examples are made from. `target` is the language that is taught,
    `protected` the one that the base knows."""

    target: str
    protected: str = "en"
    instructions: list[Instruction] = field(default_factory=list)
    pairs: Sequence[Pair] = ()
    dictionary: list[Pair] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    wordings: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def question(text: str, answer: str) -> Chat:
    """One question and its answer."""
    return [
        {"role": "user", "content": text},
        {"role": "assistant", "content": answer},
    ]


def instructions_of(
    rows: Iterable[dict[str, Any]], language: str
) -> tuple[list[Instruction], int]:
    """The rows that hold a question with an answer, and how many do not.

    A row may name its "language" (else it is `language`), an "id" that it shares with
    its translations, and its "origin".
    """
    found, unreadable = [], 0
    for row in rows:
        turns = as_messages(row)
        if turns is None:
            unreadable += 1
            continue
        found.append(
            Instruction(
                turns,
                str(row.get("language") or language),
                "" if row.get("id") is None else str(row["id"]),
                str(row.get("origin") or "instructions"),
            )
        )
    return found, unreadable


def parallel_instructions(
    rows: Iterable[Instruction], target: str
) -> list[tuple[Instruction, Instruction]]:
    """(row in another language, its counterpart in `target`), matched by key."""
    by_key: dict[str, dict[str, Instruction]] = {}
    for row in rows:
        if row.key:
            by_key.setdefault(row.key, {}).setdefault(row.language, row)
    return [
        (row, same[target])
        for same in by_key.values()
        if target in same
        for language, row in same.items()
        if language != target
    ]


def asked_and_answered(row: Instruction) -> tuple[str, str] | None:
    """Question and answer of a row of a single exchange, else None."""
    spoken = [turn for turn in row.turns if turn["role"] != "system"]
    if len(spoken) != 2:
        return None
    return spoken[0]["content"], spoken[1]["content"]
