"""Check the inputs, hold text out, measure the base.

Writes, as JSON lines,

    {target,protected,related}-{train,validation,held_out}.jsonl
                                              {"text", ["language"]}
    parallel-{train,held_out}.jsonl           {"source", "target",
                                               "languages": [two codes]}
    dictionary-train.jsonl                    as parallel, nothing held out
    {instructions,preferences}-{train,held_out}.jsonl
                                              rows as they were given, instructions
                                              with the "language" of their corpus

    romanisation.json                         the table back, where text is romanised

all but target and protected only where the job has such data. No row of another role
holds a sentence that is held out of plain text (training/data/contamination.py). Figures:
"before" is the base, measured on the held-out text, and with
"validation_bits_per_byte" on the text of the curves; "split" says how much text lies
where; "left_out" how many rows of a role hold held-out sentences.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from training.data import romanise
from training.data.contamination import Guard
from training.data.conversations import answer_text
from training.data.languages import named_alike, tags_of
from training.data.row_split import divide_rows, write_all
from training.data.rows import corpus_texts, read_rows, write_rows
from training.data.split import LEAST_CHARACTERS, Limits, Seen, Split, split_corpora
from training.errors import DiskFull, TooLittleText
from training.spec import (
    ContinuePretraining,
    Corpus,
    ExtendVocabulary,
    JobSpec,
    Prepare,
)

if TYPE_CHECKING:
    from training.run import StageContext

PARTS = ("train", "validation", "held_out")
ROLES_OF_ROWS = ("parallel", "instructions", "preferences")
# Disk for each byte of text: split copies and token ids. For each byte of the base:
# weights and optimizer in float32, three checkpoints while one is written, the models of
# the stages; a LoRA run keeps far less.
DISK_PER_TEXT_BYTE = 4
DISK_PER_BASE_BYTE = {"full": 20, "lora": 5}


def run(context: StageContext) -> dict[str, Any]:
    """Prepare a job; returns {"before", "split", "left_out"}.

    Raises DiskFull, TooLittleText, BaseUnsuitable, TokenizerMismatch.
    """
    # 1. Refuse what cannot end well, cheapest first.
    check_disk(context)
    # 2. One name for each language, and where that is set one script; divide the text.
    context, own = under_own_tags(context)
    context, romanisation = in_latin_letters(context)
    split, left_out = write_splits(context, own)
    context.stop.raise_if_requested()
    # 3. Does the base work at all, and how well does it know the language?
    before = measure_base(context)
    return {"before": before, "split": split, "left_out": left_out, **romanisation}


def under_own_tags(context: StageContext) -> tuple[StageContext, tuple[str, ...]]:
    """The context with data under the tags of the job, and these tags: what is read
    later compares them as they stand."""
    spec = context.spec
    own = tags_of(spec.data, spec.language, spec.protected_language)
    spec = replace(spec, data=named_alike(spec.data, own))
    return replace(context, spec=spec), own


def in_latin_letters(context: StageContext) -> tuple[StageContext, dict[str, Any]]:
    """The context with romanised data where that is set, and {"romanisation": figures}."""
    if cast(Prepare, context.settings).romanise == "none":
        return context, {}
    spec = context.spec
    data, figures = romanise.rewrite(
        spec.data,
        (spec.language, spec.protected_language),
        context.work,
        context.folder / romanise.FILE,
    )
    context.events.note(
        "The language is written in Latin letters from here on, and every figure is per "
        "byte of that text: do not compare it with other runs. Prompts and what is "
        "typed in the chat are written so too before the model reads them. "
        f"{figures['come_back_on_new_text']:.0%} of the words of new text come back "
        f"exactly by the table in {romanise.FILE}.",
        level="warning",
    )
    spec = replace(spec, data=data)
    return replace(context, spec=spec), {"romanisation": figures}


def check_disk(context: StageContext) -> None:
    """Raise DiskFull unless the job's files will fit."""
    roles: dict[str, Any] = vars(context.spec.data)
    text = sum(Path(c.path).stat().st_size for role in roles.values() for c in role)
    base = sum(p.stat().st_size for p in Path(context.spec.base).glob("*.safetensors"))
    methods = [
        s.method for s in context.spec.stages if isinstance(s, ContinuePretraining)
    ]
    factor = DISK_PER_BASE_BYTE["full" if "full" in methods else "lora"]
    needed = DISK_PER_TEXT_BYTE * text + factor * base
    free = shutil.disk_usage(context.run_dir).free
    if free < needed:
        raise DiskFull(
            f"The job needs about {needed / 1e9:.1f} GB of disk and "
            f"{free / 1e9:.1f} GB are free."
        )


def write_splits(
    context: StageContext, own: Sequence[str]
) -> tuple[dict[str, Any], dict[str, int]]:
    """Write the parts of every role; rows that name their language get its tag of `own`.

    Returns characters and documents (or rows) by role and part, and by role how many
    rows were left out because of what is held out. Raises TooLittleText naming the
    number of characters.
    """
    data, seed, folder = context.spec.data, context.spec.seed, context.folder
    limits = _limits(context)
    seen = Seen()
    target, characters = split_corpora(_sources(data.target), limits, seed, seen)
    protected, kept = split_corpora(_sources(data.protected), limits, seed, seen)
    if data.protected and kept < LEAST_CHARACTERS:
        context.events.note(
            f"The protected text has only {kept:,} characters that are not in the "
            "other text too; nothing is protected.",
            level="warning",
        )
        protected = []
    little = characters < LEAST_CHARACTERS
    guard = Guard(_held_out([*([] if little else target), *protected]))
    figures: dict[str, Any] = {}
    left_out: dict[str, int] = {}
    for role in ROLES_OF_ROWS:
        if corpora := getattr(data, role):
            figures[role], left_out[role] = divide_rows(
                folder, role, corpora, seed, guard, own
            )
    if data.dictionary:
        figures["dictionary"], left_out["dictionary"] = write_all(
            folder, "dictionary", data.dictionary, guard
        )
    if little and not reads_text(context.spec):
        figures["target"] = _measure_on_rows(context, target)
    elif little:
        raise TooLittleText(
            f"The text in the language has {characters:,} different characters of "
            f"text; at least {LEAST_CHARACTERS:,} are needed to learn from some and "
            "measure on the rest."
        )
    else:
        figures["target"] = _write_parts(folder, "target", target, data.target)
        if not all(part["characters"] for part in figures["target"].values()):
            raise TooLittleText(
                f"The {characters:,} characters of text in the language repeat the "
                "same passages: nothing can be held out that is not learned from."
            )
    figures["protected"] = _write_parts(folder, "protected", protected, data.protected)
    if data.related:
        figures["related"] = _write_related(context, limits, seen, guard)
        left_out["related"] = sum(guard.refused.values())
    return figures, left_out


def _limits(context: StageContext) -> Limits:
    settings = cast(Prepare, context.settings)
    values = asdict(settings)
    short = values.pop("chunk_characters")
    names = Limits.__dataclass_fields__
    return Limits(**{k: v for k, v in values.items() if k in names}, short_text=short)


def _held_out(splits: Sequence[Split]) -> Iterable[str]:
    """What is not learned from: held-out and validation texts."""
    parts = itertools.chain(*(split.parts() for split in splits))
    return (text for part, text in parts if part != "train")


def _write_related(
    context: StageContext, limits: Limits, seen: Seen, guard: Guard
) -> dict[str, dict[str, int]]:
    """Divide plain text of other languages; documents that hold a sentence held out of
    the target or the protected text are left out."""
    corpora = context.spec.data.related
    sources: list[Callable[[], Iterable[str]]] = [
        partial(_clean_texts, corpus, guard, number)
        for number, corpus in enumerate(corpora)
    ]
    splits, _ = split_corpora(sources, limits, context.spec.seed, seen)
    return _write_parts(context.folder, "related", splits, corpora)


def _clean_texts(corpus: Corpus, guard: Guard, number: int) -> Iterable[str]:
    return guard.clean(corpus_texts(corpus), f"related {number}")


def reads_text(spec: JobSpec) -> bool:
    """Whether a stage of the job learns from plain text in the language."""
    return any(
        isinstance(settings, ContinuePretraining)
        or (isinstance(settings, ExtendVocabulary) and settings.method != "keep")
        for settings in spec.stages
    )


def _measure_on_rows(context: StageContext, splits: Sequence[Split]) -> dict[str, Any]:
    """Without enough plain text the held-out answers and translations are what is
    measured, for the curves too; the little text there is can all be learned from.
    """
    language, folder = context.spec.language, context.folder
    found = []
    for role in ("instructions", "parallel"):
        path = folder / f"{role}-held_out.jsonl"
        rows = read_rows(path) if path.is_file() else ()
        found += [text for row in rows if (text := answer_text(row, language))]
    if not found:
        raise TooLittleText(
            "There is nothing to measure on: too little text in the language and fewer "
            "than 10 questions with answers or translations.",
            hint="Add plain text in the language, or more questions or translations.",
        )
    texts = {
        "train": [text for split in splits for _, text in split.parts()],
        "validation": found,
        "held_out": found,
    }
    return {
        part: {
            "documents": write_rows(
                folder / f"target-{part}.jsonl",
                ({"text": text} for text in texts[part]),
            ),
            "characters": sum(map(len, texts[part])),
        }
        for part in PARTS
    }


def measure_base(context: StageContext) -> dict[str, Any]:
    """Load the base and measure it; raises BaseUnsuitable or TokenizerMismatch."""
    from training import compute
    from training.evaluation.evaluator import Evaluator
    from training.families import check_rows, load_model, load_tokenizer

    base = Path(context.spec.base)
    device = compute.prepare_device(context.spec.device)
    tokenizer = load_tokenizer(base)
    with compute.memory_errors("The base model does not fit into memory."):
        model = load_model(base, device=device)
        check_rows(model, tokenizer)
        measured = {
            part: Evaluator(model, tokenizer, context.spec, context.folder, part)
            for part in ("held_out", "validation")
        }
        # The curves are of the validation text: there the base has its line.
        bits = measured["validation"].bits_per_byte()
        return measured["held_out"].everything() | {"validation_bits_per_byte": bits}


def _sources(corpora: Sequence[Corpus]) -> list[Callable[[], Iterable[str]]]:
    return [partial(corpus_texts, corpus) for corpus in corpora]


def _write_parts(
    folder: Path, role: str, splits: Sequence[Split], corpora: Sequence[Corpus]
) -> dict[str, dict[str, int]]:
    """Stream the splits of a role into its three files."""
    figures = {part: {"documents": 0, "characters": 0} for part in PARTS}
    files = {
        part: (folder / f"{role}-{part}.jsonl").open("w", encoding="utf-8")
        for part in PARTS
    }
    try:
        for split, corpus in zip(splits, corpora, strict=False):
            named = {"language": corpus.languages[0]} if corpus.languages else {}
            for part, text in split.parts():
                if not text:
                    continue
                row = json.dumps({"text": text, **named}, ensure_ascii=False)
                files[part].write(row + "\n")
                figures[part]["documents"] += 1
                figures[part]["characters"] += len(text)
    finally:
        for file in files.values():
            file.close()
    return figures
