"""The examples of a tuning, from the files that `prepare` left.

Reads instructions, parallel text, dictionary and plain text; has instructions translated
and written where the settings ask for it (kept in the stage's work folder, so that a
resumed run learns from the same); mixes everything by its shares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.data import instructions, romanise
from training.data.asked import AT_ONCE, Cache
from training.data.builders import builders
from training.data.builders.backtranslation import keep_best, write_instructions
from training.data.builders.documents import split_title
from training.data.builders.material import (
    Document,
    Instruction,
    Material,
    instructions_of,
)
from training.data.builders.translation import TranslationStyle
from training.data.builders.wordings import load_wordings
from training.data.chat_client import ChatClient
from training.data.contamination import Guard
from training.data.pairs import Pair, StoredPairs
from training.data.rows import read_rows, read_texts
from training.data.translate import (
    Filter,
    Translate,
    by_client,
    through,
    translate_rows,
)
from training.errors import Stopped
from training.spec import TEXT_PIECE_CHARACTERS
from training.tuning.inventing import conversations

if TYPE_CHECKING:
    from training.run import StageContext
    from training.spec import TuneInstructions
    from training.tuning.self_writing import SelfWriter

# Pieces enough to draw from at random (30 MB of letters); a large corpus is not read to
# its end for this.
PIECES_READ = 100_000
DOCUMENTS_READ = 20_000
# Documents for the tasks from plain text: enough to show some and to ask for the rest.
LEAST_DOCUMENT_CHARACTERS = 120


def collect(
    context: StageContext, settings: TuneInstructions, writer: Callable[[], SelfWriter]
) -> instructions.Examples:
    """Everything of the job, mixed by its shares. `writer` is called where the model
    itself has to write. Raises TranslatorUnavailable, BaseUnsuitable, Stopped."""
    prepared = context.prepared
    material, unreadable = read_material(context, settings)
    if settings.translated_rows:
        material.instructions += translated(context, settings, material, writer)
    if settings.backtranslated_documents:
        material.instructions += backtranslated(context, settings, material, writer)
    figures = {}
    if settings.invented_conversations:
        rows, figures["invented"] = conversations(context, settings)
        material.instructions += rows
    found = instructions.build_examples(
        material,
        mixture(settings),
        target_texts=_pieces(prepared / "target-train.jsonl"),
        protected_texts=_pieces(prepared / "protected-train.jsonl"),
        seed=context.spec.seed,
        ways=builders(
            TranslationStyle(
                settings.translation_direction,
                settings.few_shot_share,
                settings.few_shot_examples,
            ),
            settings.code_switch_ratio,
        ),
    )
    found.counts |= {"unreadable": unreadable, **figures}
    return found


def mixture(settings: TuneInstructions) -> instructions.Mixture:
    """The shares of the settings; a builder NAME has the setting `NAME_share`."""
    return instructions.Mixture(
        shares={name: getattr(settings, f"{name}_share") for name in builders()},
        raw_text_share=settings.raw_text_share,
        protected_text_share=settings.protected_text_share,
        source_language_share=settings.source_language_share,
        target_rows=settings.target_instructions,
    )


def read_material(
    context: StageContext, settings: TuneInstructions
) -> tuple[Material, int]:
    """What the job has, and how many instruction rows hold no answer."""
    prepared, spec = context.prepared, context.spec
    rows, unreadable = instructions_of(
        _rows(prepared / "instructions-train.jsonl"), spec.language
    )
    needs_documents = settings.document_share or settings.backtranslated_documents
    material = Material(
        target=spec.language,
        protected=spec.protected_language,
        instructions=rows,
        pairs=_pairs(prepared / "parallel-train.jsonl"),
        dictionary=list(_pairs(prepared / "dictionary-train.jsonl")),
        documents=documents(context) if needs_documents else [],
        wordings=load_wordings(),
    )
    return material, unreadable


def documents(context: StageContext) -> list[Document]:
    """Passages of the training text, and the given documents that have a title or a
    summary.

    Those are read from the corpora themselves, as `prepare` keeps text alone; documents
    with a sentence that is held out are left out.
    """
    prepared, language = context.prepared, context.spec.language
    found = []
    for text in read_texts(prepared / "target-train.jsonl"):
        if len(text) >= LEAST_DOCUMENT_CHARACTERS:
            found.append(Document(text, language))
        if len(found) == DOCUMENTS_READ:
            break
    guard = Guard(
        text
        for part in ("held_out", "validation")
        for text in read_texts(prepared / f"target-{part}.jsonl")
    )
    return found + list(islice(_described(context, guard), DOCUMENTS_READ))


def _described(context: StageContext, guard: Guard) -> Iterator[Document]:
    """The given documents with a title or a summary, as the model reads them."""
    romanised = (context.prepared / romanise.FILE).is_file()
    write = romanise.romanise if romanised else str
    for corpus in context.spec.data.target:
        for row in read_rows(Path(corpus.path)):
            if not (row.get("title") or row.get("summary")):
                continue
            parts = (write(str(row.get(n) or "")) for n in ("text", "title", "summary"))
            text, title, summary = (part.strip() for part in parts)
            if text and not guard.touches((text, title, summary)):
                title = title or split_title(text)[0]
                yield Document(text, context.spec.language, title, summary)


def translated(
    context: StageContext,
    settings: TuneInstructions,
    material: Material,
    writer: Callable[[], SelfWriter],
) -> list[Instruction]:
    """Rows of the protected language in the target one."""
    rows = [r for r in material.instructions if r.language == material.protected]
    rows = rows[: settings.translated_rows]
    if not rows:
        context.events.note(
            "Nothing was translated: there are no instructions in the protected "
            "language.",
            level="warning",
        )
        return []
    translate, name = translator(settings, material, writer)
    cache = Cache(context.work / "translations.jsonl", name)
    usual = Filter.of(
        islice(read_texts(context.prepared / "target-train.jsonl"), 200),
        material.pairs,
        material.target,
    )
    limit = context.work / "translated.txt"
    done = int(limit.read_text()) if limit.is_file() else 0
    found = translate_rows(
        rows[:done] if done else rows,
        material.target,
        through(cache, translate),
        usual,
        least_chrf=settings.least_chrf,
        seconds=float("inf") if done else 60 * settings.generation_minutes,
        stopped=lambda: context.stop.requested,
        workers=AT_ONCE if settings.translator == "endpoint" else 1,
    )
    if context.stop.requested:
        raise Stopped
    # A resumed run learns from as many rows, though it had more time.
    limit.write_text(str(len(rows[:done] if done else rows) - found.unfinished))
    left_out = ", ".join(f"{n} {why}" for why, n in sorted(found.left_out.items()))
    context.events.note(
        f"{len(found.rows)} instructions were translated"
        + (f"; left out: {left_out}" if left_out else "")
        + (f"; {found.unfinished} for want of time" if found.unfinished else "")
        + "."
    )
    return found.rows


def translator(
    settings: TuneInstructions, material: Material, writer: Callable[[], SelfWriter]
) -> tuple[Translate, str]:
    """The translator of the settings and its name in the cache."""
    if settings.translator == "endpoint":
        client = ChatClient.from_environment()
        return by_client(client), f"{client.url} {client.model}"
    return partial(writer().translate, material.wordings), "model"


def backtranslated(
    context: StageContext,
    settings: TuneInstructions,
    material: Material,
    writer: Callable[[], SelfWriter],
) -> list[Instruction]:
    """Documents with instructions that the model wrote for them."""
    model = writer()
    chosen = material.documents[: settings.backtranslated_documents]
    written = write_instructions(
        chosen,
        model.write,
        model.helpfulness,
        material.wordings,
        path=context.work / "backtranslated.jsonl",
        seconds=60 * settings.generation_minutes,
        stopped=lambda: context.stop.requested,
    )
    if context.stop.requested:
        raise Stopped
    kept = keep_best(written, settings.backtranslation_keep, material.target)
    context.events.note(
        f"The model wrote instructions for {len(written)} of {len(chosen)} texts; "
        f"{len(kept)} of them are learned from."
    )
    return kept


def _rows(path: Path) -> list[dict[str, Any]]:
    return list(read_rows(path)) if path.is_file() else []


def _pairs(path: Path) -> Sequence[Pair]:
    return StoredPairs(path) if path.is_file() else ()


def _pieces(path: Path) -> list[str]:
    """Pieces of the training text, the length of a chat."""
    if not path.is_file():
        return []
    pieces = instructions.text_pieces(read_texts(path), TEXT_PIECE_CHARACTERS)
    return list(islice(pieces, PIECES_READ))
