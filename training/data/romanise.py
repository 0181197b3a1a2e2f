"""Write a language in Latin letters before anything is learned, with a record to go back.

For a script that the base has never seen and little text (Purkayastha et al. 2023; Husain
et al. 2024, RomanSetu): "this project uses the universal romanizer software 'uroman'
written by Ulf Hermjakob, USC Information Sciences Institute (2015-2020)" (Hermjakob, May
and Knight 2018). Romanising loses vowels, tones and case marks, so that no rule leads
back: the record is a table, romanised word -> the most frequent word of the text that is
written so, and how often a word of text that was not counted comes back by it.

Words in Latin letters stay as they are, and so do spaces and general punctuation.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from training.data.languages import own_tag
from training.data.rows import read_rows, write_rows
from training.errors import InputMissing
from training.spec import Corpus, Data
from training.vocabulary.pieces import JOINERS, NEUTRAL, kind_of

FILE = "romanisation.json"
# Roles that hold the language. Protected text stays what it is.
ROLES = ("target", "related", "parallel", "instructions", "preferences", "dictionary")
# One row in so many of the target is left out of the table that is measured.
MEASURED_EVERY = 20
GENERAL_PUNCTUATION = range(0x2000, 0x2070)
LATIN = frozenset({"LATIN", NEUTRAL})


@cache
def uroman() -> Callable[[str], str]:
    """uroman's function; its tables take seconds to read. Raises InputMissing."""
    try:
        from uroman import Uroman
    except ImportError as problem:
        raise InputMissing(
            "Romanising needs the library uroman, and it is not installed.",
            hint="Install what requirements.lock names, or do not romanise.",
        ) from problem
    return Uroman().romanize_string


def runs(text: str) -> Iterator[str]:
    """The text in parts: words (letters, marks, digits), and each other character."""
    for is_word, group in itertools.groupby(text, _is_of_word):
        if is_word:
            yield "".join(group)
        else:
            yield from group


def _is_of_word(character: str) -> bool:
    return character in JOINERS or unicodedata.category(character)[0] in "LMN"


@lru_cache(maxsize=1_000_000)
def romanised(part: str) -> str:
    """One part of `runs` in Latin letters; a Latin word as it is."""
    if part.isascii():
        return part
    if _is_of_word(part[0]):
        foreign = any(
            kind_of(character) not in LATIN
            for character in part
            if unicodedata.category(character)[0] in "LM"
        ) or any(c.isdigit() and not c.isascii() for c in part)
    else:
        foreign = (
            unicodedata.category(part)[0] == "P"
            and ord(part) > 0xFF
            and ord(part) not in GENERAL_PUNCTUATION
        )
    return uroman()(part) if foreign else part


def romanise(text: str) -> str:
    """A text in Latin letters."""
    return "".join(romanised(part) for part in runs(text))


def restore(text: str, table: dict[str, str]) -> str:
    """A romanised text in its own script, as far as the table goes."""
    return "".join(table.get(part, part) for part in runs(text))


def table_of(counts: Counter[str]) -> dict[str, str]:
    """Romanised part -> its most frequent original, where that is another; ties go to
    the one that sorts first. `counts`: originals, Latin ones too."""
    best: dict[str, tuple[int, str]] = {}
    for part, count in counts.items():
        key = romanised(part)
        if key not in best or (-count, part) < best[key]:
            best[key] = (-count, part)
    return {key: part for key, (_, part) in sorted(best.items()) if key != part}


def come_back(counts: Counter[str], table: dict[str, str]) -> float:
    """The share of words (0 to 1), of those that romanising changes, that come back."""
    changed = {part: count for part, count in counts.items() if romanised(part) != part}
    total = sum(changed.values())
    same = sum(
        count
        for part, count in changed.items()
        if restore(romanised(part), table) == part
    )
    return same / total if total else 1.0


def rewrite(
    data: Data, own: Sequence[str], work: Path, record: Path
) -> tuple[Data, dict]:
    """The job's data with its language in Latin letters, as files in `work`; the table is
    written to `record`. `own`: the language and the protected one, whose instructions
    stay as they are.

    Returns the data and {"words", "different_words", "come_back_on_new_text",
    "bytes_of_original_text", "bytes_of_romanised_text"} of the target text.
    """
    learned: Counter[str] = Counter()
    measured: Counter[str] = Counter()
    sizes = Counter({"original": 0, "romanised": 0})

    def count(number: int, text: str) -> None:
        of_row = measured if number % MEASURED_EVERY == 0 else learned
        of_row.update(part for part in runs(text) if not part.isspace())
        sizes["original"] += len(text.encode("utf-8", "ignore"))
        sizes["romanised"] += len(romanise(text).encode("utf-8", "ignore"))

    roles: dict[str, tuple[Corpus, ...]] = {}
    for role in ROLES:
        corpora = getattr(data, role)
        if role == "target":
            for corpus in corpora:
                for number, row in enumerate(read_rows(Path(corpus.path)), 1):
                    if isinstance(row.get("text"), str):
                        count(number, row["text"])
        roles[role] = tuple(
            _rewritten(corpus, own, work / f"romanised-{role}-{number}.jsonl")
            for number, corpus in enumerate(corpora)
        )
    share = come_back(measured, table_of(learned))
    everything = learned + measured
    figures = {
        "words": everything.total(),
        "different_words": len(everything),
        "come_back_on_new_text": round(share, 4),
        "bytes_of_original_text": sizes["original"],
        "bytes_of_romanised_text": sizes["romanised"],
    }
    told = {"romaniser": "uroman", "language": own[0], **figures}
    text = json.dumps({**told, "table": table_of(everything)}, ensure_ascii=False)
    record.write_text(text + "\n", encoding="utf-8")
    return dataclasses.replace(data, **roles), figures


def _rewritten(corpus: Corpus, own: Sequence[str], path: Path) -> Corpus:
    language, protected = own[0], own[1:2]
    sides = ("source", "target")
    theirs = {
        side
        for side, code in zip(sides, corpus.languages, strict=False)
        if code != language and language in corpus.languages
    }

    def changed(key: str, value: Any) -> Any:
        if isinstance(value, str):
            return value if key in theirs or key == "language" else romanise(value)
        if isinstance(value, list):
            return [changed(key, inner) for inner in value]
        if isinstance(value, dict):
            return {name: changed(name, inner) for name, inner in value.items()}
        return value

    def is_kept(row: dict[str, Any]) -> bool:
        if corpus.kind not in ("instructions", "preferences") or not protected:
            return False
        said = own_tag(str(row["language"]), own) if row.get("language") else ""
        return (said or (*corpus.languages, "")[0]) == protected[0] != language

    rows = (
        row if is_kept(row) else changed("", row)
        for row in read_rows(Path(corpus.path))
    )
    write_rows(path, rows)
    name = corpus.name or Path(corpus.path).name
    return dataclasses.replace(corpus, path=str(path), sha256="", name=name)
