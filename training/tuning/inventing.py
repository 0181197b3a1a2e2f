"""Conversations that the operator's service invents from the training text, asked for once
and kept (training/data/builders/invented.py says how)."""

from __future__ import annotations

import json
import random
from itertools import islice
from typing import TYPE_CHECKING, Any

from training.data import romanise
from training.data.asked import Cache, in_order
from training.data.builders import invented
from training.data.builders.material import Chat, Instruction
from training.data.chat_client import ChatClient
from training.data.contamination import Guard
from training.data.language_guess import LanguageGuess
from training.data.rows import read_texts
from training.data.text_quality import usual_scripts
from training.errors import Stopped

if TYPE_CHECKING:
    from training.run import StageContext
    from training.spec import TuneInstructions

# Passages to draw from: a corpus of any size is not read to its end for this.
PASSAGES_READ = 20_000
SAMPLE = 2_000  # texts from which scripts and languages are known


def conversations(
    context: StageContext, settings: TuneInstructions
) -> tuple[list[Instruction], dict[str, Any]]:
    """The rows, and figures for the report. Only training text is shown to the teacher.

    Every answer is kept in the stage's work folder, and how far the first attempt came:
    a resumed one asks for the rest of that and for nothing twice. Raises
    TranslatorUnavailable, Stopped.
    """
    client = ChatClient.from_environment()
    prepared, language = context.prepared, context.spec.language
    cache = Cache(context.work / "invented.jsonl", f"{client.url} {client.model}")
    romanised = (prepared / romanise.FILE).is_file()

    def ask(chat: Chat) -> str:
        text = cache.get([chat], lambda: client.answer(chat))
        return romanise.romanise(text) if romanised else text

    chosen = invented.choose(
        islice(
            invented.passages(read_texts(prepared / "target-train.jsonl")),
            PASSAGES_READ,
        ),
        settings.invented_documents,
        settings.invented_conversations,
        random.Random(context.spec.seed),  # noqa: S311 - which text is no secret
    )
    quality = _quality(context)
    limit = context.work / "invented.txt"
    done = int(limit.read_text()) if limit.is_file() else None
    talks, _ = in_order(
        chosen[:done],
        lambda one: (
            one,
            *invented.converse(one, ask, settings.invented_turns, quality),
        ),
        seconds=60 * settings.generation_minutes if done is None else float("inf"),
        stopped=lambda: context.stop.requested,
    )
    if context.stop.requested:
        raise Stopped
    limit.write_text(str(len(talks)))
    found = invented.gather(talks, language, client.model)
    figures = {
        "teacher": client.model,
        "passages": len(chosen),
        "conversations": len(found.rows),
        "questions": sum(len(row.turns) // 2 for row in found.rows),
        "left_out": dict(sorted(found.left_out.items())),
        "cut_short": dict(sorted(found.cut_short.items())),
        "unfinished": len(chosen) - len(talks),
    }
    _keep(context, found.rows, client.model)
    _note(context, figures)
    return found.rows, figures


def _quality(context: StageContext) -> invented.Quality:
    """What the training text is like, and what must not be learned."""
    prepared, spec = context.prepared, context.spec

    def sample(role: str) -> list[str]:
        path = prepared / f"{role}-train.jsonl"
        return list(islice(read_texts(path), SAMPLE)) if path.is_file() else []

    taught = sample("target")
    guess = {spec.language: taught, spec.protected_language: sample("protected")}
    held_out = (
        prepared / f"target-{part}.jsonl" for part in ("held_out", "validation")
    )
    guard = Guard(text for path in held_out for text in read_texts(path))
    scripts = usual_scripts(taught)
    return invented.Quality(spec.language, scripts, LanguageGuess(guess), guard)


def _keep(context: StageContext, rows: list[Instruction], teacher: str) -> None:
    """The rows beside what the stage writes, for people to look at and to upload."""
    lines = [
        {
            "messages": row.turns,
            "language": row.language,
            "origin": row.origin,
            "teacher": teacher,
            "document": row.key.removeprefix("document "),
        }
        for row in rows
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path = context.folder / "invented.jsonl"
    path.write_text(text, encoding="utf-8", errors="replace")


def _note(context: StageContext, figures: dict[str, Any]) -> None:
    """How many there are, and what became of the others."""
    parts = [
        f"{figures['conversations']} conversations were invented from "
        f"{figures['passages']} passages"
    ]
    for name, words in (("left_out", "left out"), ("cut_short", "cut short")):
        if reasons := ", ".join(f"{n} {why}" for why, n in figures[name].items()):
            parts.append(f"{words}: {reasons}")
    if figures["unfinished"]:
        parts.append(f"{figures['unfinished']} not begun for want of time")
    context.events.note(
        "; ".join(parts) + ".", level="info" if figures["conversations"] else "warning"
    )
