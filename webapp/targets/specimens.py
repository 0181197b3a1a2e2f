"""Real sentences out of a person's own text, to show and to measure tokenizers on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.core.languages import same_language
from webapp.datasets.models import DatasetVersion, Kind

SHORTEST, LONGEST = 24, 110  # characters of a specimen: about a line of large type
MEASURED_CHARACTERS = 4_000
# Ends of sentences in Latin, Cyrillic, Greek, Arabic, Devanagari, Ethiopic, Khmer,
# Burmese, Tibetan and Han writing, with closing quotes.
SENTENCE = re.compile(r"[^.!?…؟۔।॥።៕။།。！？\n]+[.!?…؟۔।॥።៕။།。！？]*[\"'”’»)]*")
LAST_RESORT = re.compile(r"\S+(?:\s+\S+){0,11}")


@dataclass(frozen=True)
class Sample:
    """Text of the target and of the protected language; `paired` if they say the same."""

    target: str
    protected: str
    paired: bool


def specimen(versions: Sequence[DatasetVersion], language: str) -> str:
    """A whole sentence in the language, of a line's length; empty without text.

    The versions' order decides; plain text goes before translations and answers.
    """
    ordered = sorted(
        versions, key=lambda version: version.dataset.kind != Kind.MONOLINGUAL
    )
    first = ""
    for version in ordered:
        for text in texts(version, language):
            for sentence in SENTENCE.findall(text):
                sentence = " ".join(sentence.split())
                if SHORTEST <= len(sentence) <= LONGEST:
                    return sentence
            first = first or text
    return shorten(first)


def shorten(text: str) -> str:
    """The beginning of a text, cut between words where there are any."""
    found = LAST_RESORT.search(text)
    words = " ".join(found.group().split()) if found else ""
    while len(words) > LONGEST and " " in words:
        words = words.rpartition(" ")[0]
    return words[:LONGEST]


def texts(version: DatasetVersion, language: str) -> Iterable[str]:
    """The previewed texts of a version that are in a language."""
    for row in version.preview:
        yield from row_texts(row, version.dataset.languages, language)


def row_texts(row: dict[str, Any], tags: Sequence[str], language: str) -> list[str]:
    """The parts of a row that are in a language; of a pair the side that is."""
    if "text" in row:
        return [row["text"]]
    if "source" in row:
        sides = [row.get("source", ""), row.get("target", "")]
        return [
            side
            for side, tag in zip(sides, tags, strict=False)
            if same_language(tag, language)
        ]
    return [m["content"] for m in row.get("messages") or [] if m.get("content")]


def sample(
    learned: Sequence[DatasetVersion],
    protected: Sequence[DatasetVersion],
    language: str,
    protected_language: str,
) -> Sample:
    """What a comparison of two languages is measured on: translations if there are any,
    else what is learned against what is protected."""
    pairs = [
        (mine[0], other[0])
        for version in learned
        if version.dataset.kind == Kind.PARALLEL
        for row in version.preview
        if (mine := row_texts(row, version.dataset.languages, language))
        and (other := row_texts(row, version.dataset.languages, protected_language))
    ]
    if pairs:
        return Sample(
            target=_joined(mine for mine, _other in pairs),
            protected=_joined(other for _mine, other in pairs),
            paired=True,
        )
    return Sample(
        target=_joined(
            text
            for version in learned
            if version.dataset.kind == Kind.MONOLINGUAL
            for text in texts(version, language)
        ),
        protected=_joined(
            text for version in protected for text in texts(version, protected_language)
        ),
        paired=False,
    )


def _joined(parts: Iterable[str]) -> str:
    joined = ""
    for part in parts:
        if len(joined) + len(part) > MEASURED_CHARACTERS and joined:
            break
        joined += part[:MEASURED_CHARACTERS] + "\n"
    return joined.strip()
