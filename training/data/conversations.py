"""Rows of instruction data in the usual formats, read as turns.

`as_messages` knows chat rows ("messages"), ShareGPT ("conversations"), Alpaca
("instruction", "input", "output") and question-answer rows under several names.
"""

from __future__ import annotations

from typing import Any

from training.data.pairs import side_of

Message = dict[str, str]

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
QUESTIONS = ("instruction", "question", "prompt", "query")
ANSWERS = ("output", "answer", "completion", "response")


def as_messages(row: dict[str, Any]) -> list[Message] | None:
    """The row as turns that end with an answer; None where it holds no such turns.

    Turns are stripped; turns of other roles (tools) and rows with empty turns, two
    questions in a row or a first turn that answers nothing are refused.
    """
    turns = row.get("messages") or row.get("conversations")
    if isinstance(turns, list):
        found = [_turn(turn) for turn in turns]
    else:
        found = _question_and_answer(row)
    if not found or any(turn is None for turn in found):
        return None
    return _whole([turn for turn in found if turn is not None])


def _turn(turn: Any) -> Message | None:
    """One turn of a chat or ShareGPT row."""
    if not isinstance(turn, dict):
        return None
    role = ROLES.get(str(turn.get("role", turn.get("from", ""))).lower())
    content = turn.get("content", turn.get("value"))
    if role is None or not isinstance(content, str) or not content.strip():
        return None
    return {"role": role, "content": content.strip()}


def _question_and_answer(row: dict[str, Any]) -> list[Message | None]:
    question = _first(row, QUESTIONS)
    answer = _first(row, ANSWERS)
    if not question or not answer:
        return []
    given = row.get("input") or row.get("context")
    if isinstance(given, str) and given.strip():
        question = f"{question}\n\n{given.strip()}"
    turns: list[Message | None] = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]
    system = row.get("system")
    if isinstance(system, str) and system.strip():
        turns.insert(0, {"role": "system", "content": system.strip()})
    return turns


def _first(row: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""


def _whole(turns: list[Message]) -> list[Message] | None:
    """The turns up to the last answer, if questions and answers take turns."""
    while turns and turns[-1]["role"] != "assistant":
        turns = turns[:-1]
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    expected = ["user", "assistant"] * (len(spoken) // 2)
    if not spoken or [turn["role"] for turn in spoken] != expected:
        return None
    return turns


def answer_text(row: dict[str, Any], language: str) -> str:
    """What a row of instructions or parallel text says in the language; "" if nothing."""
    if "languages" in row:
        side = side_of(row["languages"], language)
        return str((row["source"] if side == 0 else row["target"]) or "").strip()
    turns = as_messages(row)
    return turns[-1]["content"] if turns else ""
