"""Instructions for texts that have none (instruction backtranslation, Li et al. 2024,
arXiv:2308.06259): the model writes what a text could be the answer to, each pair is
scored, the best are learned from.

The score is not the model's own mark from one to five, which a small model gives at
random, but how much the instruction helps it to expect the text: the mean log-probability
of a token of the text after the instruction less that without it (the inverse of the
instruction-following difficulty of Li et al. 2024, arXiv:2308.12032).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.data.builders.material import Chat, Document, Instruction, question
from training.data.builders.wordings import Wordings
from training.data.text_quality import repeats_itself

TASK = "backtranslation"
SHORTEST_INSTRUCTION, LONGEST_INSTRUCTION = 8, 300
LONGEST_TEXT = 600

Write = Callable[[Chat], str]
Score = Callable[[str, str], float]


@dataclass(frozen=True)
class Written:
    """An instruction for a text and its score in nats per token."""

    instruction: str
    text: str
    score: float


def request(text: str, language: str, wordings: Wordings) -> Chat:
    """What the model is asked."""
    tasks = wordings.get(language, {})
    wording = tasks.get(TASK) or wordings["en"][TASK]
    return [{"role": "user", "content": wording[0].format(text=text)}]


def clean(instruction: str, text: str) -> str:
    """The first line of what was written; "" where it is no instruction.

    Too short or long, copied from the text, or going round in circles.
    """
    line = instruction.strip().partition("\n")[0].strip(' "«»„“”')
    if not SHORTEST_INSTRUCTION <= len(line) <= LONGEST_INSTRUCTION:
        return ""
    if line in text or repeats_itself(line):
        return ""
    return line


def write_instructions(
    documents: list[Document],
    write: Write,
    score: Score,
    wordings: Wordings,
    *,
    path: Path,
    seconds: float,
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> list[Written]:
    """Go through the documents in order until the time is over; what was written is kept
    in `path` line by line, so that a resumed run goes on and learns from the same.

    A file that ends with a line {"done": true} is complete.
    """
    lines = _read(path)
    began = clock()
    with path.open("a", encoding="utf-8") as file:
        for document in documents[len(lines) :] if not _done(lines) else []:
            if stopped() or clock() - began > seconds:
                break
            text = document.text[:LONGEST_TEXT]
            found = clean(write(request(text, document.language, wordings)), text)
            value = score(found, text) if found else 0.0
            line = {"instruction": found, "text": text, "score": round(value, 6)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            lines.append(line)
        if not stopped() and not _done(lines):
            file.write(json.dumps({"done": True}) + "\n")
    return [
        Written(line["instruction"], line["text"], line["score"])
        for line in lines
        if line.get("instruction")
    ]


def _read(path: Path) -> list[dict]:
    """Whole lines of the file; one cut short by a crash is taken off it."""
    if not path.is_file():
        return []
    lines, good = [], 0
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        lines.append(json.loads(line))
        good += len(line)
    with path.open("ab") as file:
        file.truncate(good)
    return lines


def _done(lines: list[dict]) -> bool:
    return bool(lines) and "done" in lines[-1]


def keep_best(written: list[Written], share: float, language: str) -> list[Instruction]:
    """The `share` with the best scores, of those whose instruction helps at all."""
    helpful = [one for one in written if one.score > 0]
    ranked = sorted(helpful, key=lambda one: -one.score)
    kept = ranked[: round(share * len(written))]
    return [
        Instruction(
            question(one.instruction, one.text), language, origin="backtranslated"
        )
        for one in kept
    ]
