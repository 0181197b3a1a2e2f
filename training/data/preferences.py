"""Rows of preferences: a conversation, a better and a worse answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training import templates
from training.data.conversations import Message, as_messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Preference:
    """Turns that end with a question, and two answers to it."""

    turns: list[Message]
    chosen: str
    rejected: str


@dataclass(frozen=True)
class PairIds:
    """Ids of the question with its header and of both answers with the end of a turn;
    `bytes` of text behind them."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    bytes: int

    @property
    def length(self) -> int:
        """Tokens of the longer of both."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def preferences_of(rows: Iterable[dict[str, Any]]) -> tuple[list[Preference], int]:
    """The rows that hold a question and two different answers, and how many do not.

    An answer is a text, a turn, or turns that end with it; the question stands in
    "messages", in "prompt", or in the turns of the better answer.
    """
    found, unreadable = [], 0
    for row in rows:
        preference = _preference(row)
        if preference is None:
            unreadable += 1
        else:
            found.append(preference)
    return found, unreadable


def _preference(row: dict[str, Any]) -> Preference | None:
    chosen, rejected = _answer(row.get("chosen")), _answer(row.get("rejected"))
    if not chosen or not rejected or chosen == rejected:
        return None
    asked = row.get("messages") or row.get("conversations") or row.get("prompt")
    if not asked and isinstance(row["chosen"], list):
        asked = row["chosen"][:-1]
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    if not isinstance(asked, list) or not asked:
        return None
    # Read as a conversation that the better answer completes.
    turns = as_messages({"messages": [*asked, _turn(chosen)]})
    if turns is None or len(turns) < len(asked) + 1:
        return None
    return Preference(turns[:-1], chosen, rejected)


def _turn(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _answer(value: Any) -> str:
    if isinstance(value, list) and value:
        value = value[-1]
    if isinstance(value, dict):
        value = value.get("content", value.get("value"))
    return value.strip() if isinstance(value, str) else ""


def encode_pair(
    tokenizer: PreTrainedTokenizerBase,
    preference: Preference,
    form: templates.ChatFormat,
    maximum_tokens: int,
) -> PairIds | None:
    """Ids of a pair, its answers cut at `maximum_tokens`; None where the template does
    not take it, where the question fills everything or where both answers are the same
    after the cut."""
    from jinja2 import TemplateError

    sides = []
    for text in (preference.chosen, preference.rejected):
        try:
            ids, labels = templates.encode_chat(
                tokenizer, [*preference.turns, _turn(text)], form
            )
        except TemplateError:
            return None
        start, stop = _last_answer(labels)
        sides.append((ids[:start], ids[start:stop]))
    (prompt, chosen), (other, rejected) = sides
    room = maximum_tokens - len(prompt)
    chosen, rejected = chosen[: max(0, room)], rejected[: max(0, room)]
    if prompt != other or not chosen or not rejected or chosen == rejected:
        return None
    size = len((preference.chosen + preference.rejected).encode())
    return PairIds(prompt, chosen, rejected, size)


def _last_answer(labels: list[int]) -> tuple[int, int]:
    """Where the last run of labels begins and ends."""
    stop = len(labels)
    while stop and labels[stop - 1] == templates.IGNORED:
        stop -= 1
    start = stop
    while start and labels[start - 1] != templates.IGNORED:
        start -= 1
    return start, stop
