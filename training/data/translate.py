"""Instructions of one language translated into another, filtered, with their origin kept.

The translator is any function from a text to its translation: a service
(chat_client.py) or the model itself. Every turn is translated by itself; a row is left
out as soon as one of its turns fails a filter. Everything that was translated stands in a
cache (asked.py).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from statistics import median

from training.data.asked import AT_ONCE, Cache, in_order
from training.data.builders.material import Instruction
from training.data.builders.wordings import language_name
from training.data.chat_client import ChatClient
from training.data.pairs import Pair, side_of
from training.data.text_quality import (
    chrf,
    in_scripts,
    repeats_itself,
    usual_scripts,
)

# (text, language, into language) -> translation
Translate = Callable[[str, str, str], str]

# Shorter texts ("Yes.", a name, a number) may be copied or have any length.
SHORT_CHARACTERS = 20
# How far the length may be from what is usual, as a factor; where no parallel text says
# what is usual, scripts differ by more (a Chinese text has a third of the characters).
LENGTH_FACTOR, UNKNOWN_LENGTH_FACTOR = 3.0, 6.0
COPIED_CHRF = 80.0
MOST_PAIRS = 20_000  # the usual length of a translation is known from fewer


def through(cache: Cache, translate: Translate) -> Translate:
    """The translator, asked only for what is not known yet."""

    def cached(text: str, source: str, target: str) -> str:
        return cache.get(
            [source, target, text], lambda: translate(text, source, target)
        )

    return cached


def by_client(client: ChatClient) -> Translate:
    """A translator that asks a chat service."""

    def translate(text: str, source: str, target: str) -> str:
        first, second = language_name(source, "en"), language_name(target, "en")
        asked = (
            f"Translate the text below from {first} into {second}. Keep line breaks, "
            "numbers, names and code as they are. Answer with the translation and "
            f"nothing else.\n\n{text}"
        )
        return client.answer([{"role": "user", "content": asked}]).strip()

    return translate


@dataclass(frozen=True)
class Filter:
    """What is usual in the target language: its scripts, and its length beside the
    source's (0: unknown)."""

    scripts: set[str] = field(default_factory=set)
    ratio: float = 0.0

    @classmethod
    def of(cls, texts: Iterable[str], pairs: Iterable[Pair], target: str) -> Filter:
        """Learned from text in the language and from parallel text."""
        ratios = []
        for pair in islice(pairs, MOST_PAIRS):
            side = side_of(pair.languages, target)
            if side is not None:
                ratios.append(len(pair.texts[side]) / max(1, len(pair.texts[1 - side])))
        return cls(usual_scripts(texts), median(ratios) if len(ratios) >= 20 else 0.0)

    def fault(self, source: str, translated: str) -> str:
        """Why a translation is not learned from; "" where nothing speaks against it."""
        if not translated.strip():
            return "empty"
        if repeats_itself(translated) and not repeats_itself(source):
            return "repeated"
        if len(source) < SHORT_CHARACTERS:
            return ""
        # Before the script: text left in English is a copy whatever the script.
        if chrf(translated, source) > COPIED_CHRF:
            return "copied"
        if not in_scripts(translated, self.scripts):
            return "script"
        factor = LENGTH_FACTOR if self.ratio else UNKNOWN_LENGTH_FACTOR
        ratio = len(translated) / len(source) / (self.ratio or 1.0)
        return "" if 1 / factor <= ratio <= factor else "length"


@dataclass
class Translated:
    """The rows that passed, and how many did not by reason."""

    rows: list[Instruction] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unfinished: int = 0


def translate_rows(
    rows: list[Instruction],
    target: str,
    translate: Translate,
    usual: Filter,
    *,
    least_chrf: float = 0.0,
    seconds: float = float("inf"),
    stopped: Callable[[], bool] = lambda: False,
    workers: int = AT_ONCE,
    clock: Callable[[], float] = time.monotonic,
) -> Translated:
    """Translate the rows in order until the time is over.

    A translated row keeps the key of its source, so that both can be set against each
    other (builders/cross_lingual.py, builders/taco.py). Raises TranslatorUnavailable.
    """
    found = Translated()
    results, found.unfinished = in_order(
        rows,
        lambda row: _one(row, target, translate, usual, least_chrf),
        seconds=seconds,
        stopped=stopped,
        workers=workers,
        clock=clock,
    )
    for result in results:
        if isinstance(result, str):
            found.left_out[result] += 1
        else:
            found.rows.append(result)
    return found


def _one(
    row: Instruction,
    target: str,
    translate: Translate,
    usual: Filter,
    least_chrf: float,
) -> Instruction | str:
    """The translated row, or why it is left out."""
    turns = []
    for turn in row.turns:
        text = turn["content"]
        translated = translate(text, row.language, target)
        if fault := usual.fault(text, translated):
            return fault
        if least_chrf and len(text) >= SHORT_CHARACTERS:
            back = translate(translated, target, row.language)
            if chrf(back, text) < least_chrf:
                return "translated back"
        turns.append({"role": turn["role"], "content": translated.strip()})
    return Instruction(turns, target, row.key, origin="translated")
