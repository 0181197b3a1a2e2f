"""What is asked about datasets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from webapp.bases.ribbon import LONGEST_WORDS
from webapp.core.languages import describe
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.datasets.rows import Row, sides
from webapp.datasets.words import ROLE_LABELS, WAY_LABELS
from webapp.models.models import Model

SORTS = {
    "newest": ("-created_at", "id"),
    "oldest": ("created_at", "id"),
    "name": ("name", "id"),
    "largest": ("-newest_characters", "id"),
}
# Names of scripts as figures.py has them (first word of a letter's name in Unicode), and
# the ISO 15924 codes of the writings that use them.
WRITINGS = {
    "Latin": {"Latn"},
    "Cyrillic": {"Cyrl"},
    "Arabic": {"Arab", "Aran"},
    "Hebrew": {"Hebr"},
    "Greek": {"Grek"},
    "Han": {"Hans", "Hant", "Hani", "Jpan", "Kore", "Hanb"},
    "Hangul": {"Hang", "Kore"},
    "Hiragana": {"Jpan", "Hira", "Hrkt"},
    "Katakana": {"Jpan", "Kana", "Hrkt"},
    "Devanagari": {"Deva"},
    "Bengali": {"Beng"},
    "Gujarati": {"Gujr"},
    "Gurmukhi": {"Guru"},
    "Oriya": {"Orya"},
    "Tamil": {"Taml"},
    "Telugu": {"Telu"},
    "Kannada": {"Knda"},
    "Malayalam": {"Mlym"},
    "Sinhala": {"Sinh"},
    "Thai": {"Thai"},
    "Lao": {"Laoo"},
    "Tibetan": {"Tibt"},
    "Myanmar": {"Mymr"},
    "Khmer": {"Khmr"},
    "Georgian": {"Geor"},
    "Armenian": {"Armn"},
    "Ethiopic": {"Ethi"},
    "Mongolian": {"Mong"},
    "Thaana": {"Thaa"},
    "Syriac": {"Syrc"},
    "Cherokee": {"Cher"},
    "Tifinagh": {"Tfng"},
    "Nko": {"Nkoo"},
    "Adlam": {"Adlm"},
    "Canadian": {"Cans"},
    "Bopomofo": {"Bopo", "Hanb"},
}
COPIES_ROWS, COPIES_SHARE = 10, 0.2  # from so many rows and this share of copies on
FITS_FROM = 0.8  # share of letters in the scripts of the dataset's languages


def newest_ready(dataset: Dataset) -> DatasetVersion | None:
    """The version that a job would learn from."""
    return (
        dataset.versions.filter(state=DatasetVersion.State.READY)
        .order_by("-number")
        .first()
    )


def newest(dataset: Dataset) -> DatasetVersion | None:
    """The version that was made last, whatever became of it."""
    return dataset.versions.order_by("-number").first()


def search_datasets(
    datasets: QuerySet[Dataset],
    *,
    q: str = "",
    kind: str = "",
    language: str = "",
    sort: str = "newest",
) -> QuerySet[Dataset]:
    """Datasets with the figures of their newest version, in one query.

    `newest_id`, `newest_state`, `newest_documents`, `newest_characters`,
    `newest_words`, `newest_number`.
    """
    if q:
        datasets = datasets.filter(name__icontains=q)
    if kind:
        datasets = datasets.filter(kind=kind)
    if language:
        datasets = datasets.filter(languages__icontains=f'"{language}"')
    versions = DatasetVersion.objects.filter(dataset=OuterRef("pk")).order_by("-number")
    fields = ("id", "state", "documents", "characters", "words", "number")
    figures = {f"newest_{name}": Subquery(versions.values(name)[:1]) for name in fields}
    return datasets.annotate(**figures).order_by(*SORTS.get(sort, SORTS["newest"]))


def languages_of(datasets: QuerySet[Dataset]) -> list[str]:
    """The tags that a workspace's datasets have, in order of their names."""
    found = {
        tag for tags in datasets.values_list("languages", flat=True) for tag in tags
    }
    return sorted(found, key=lambda tag: describe(tag).name)


@dataclass(frozen=True)
class ScriptCaution:
    """A script that the dataset's languages are not written in, with its share."""

    script: str
    share: float
    languages: list[str]
    expected: list[str]


def script_caution(
    statistics: dict[str, Any], languages: list[str]
) -> ScriptCaution | None:
    """Whether too many letters are of a script that does not fit the languages."""
    described = [describe(tag) for tag in languages]
    if not described or not all(language.script for language in described):
        return None
    codes = {language.script for language in described}
    foreign = [
        part
        for part in statistics.get("scripts", [])
        if part["script"] in WRITINGS and not WRITINGS[part["script"]] & codes
    ]
    if sum(part["share"] for part in foreign) <= 1 - FITS_FROM:
        return None
    return ScriptCaution(
        script=foreign[0]["script"],
        share=foreign[0]["share"],
        languages=[language.name for language in described],
        expected=sorted({language.script_name for language in described}),
    )


def copies_caution(statistics: dict[str, Any]) -> dict[str, float] | None:
    """The share of rows that are copies of an earlier one, where they are many."""
    rows, copies = statistics.get("documents", 0), statistics.get("duplicates", 0)
    many = rows >= COPIES_ROWS and copies >= COPIES_SHARE * rows
    return {"share": copies / rows} if many else None


def spaced_words(version: DatasetVersion) -> int | None:
    """Words between spaces; None where the writing does not part words so (Khmer, Thai,
    Chinese)."""
    words = version.words
    return words if words and version.characters <= LONGEST_WORDS * words else None


def is_legacy(guess: dict[str, Any]) -> bool:
    """Whether the encoding was told by statistics and the language, not by a mark or by
    its own rules."""
    encoding = str(guess.get("encoding") or "utf").lower()
    return not encoding.startswith(("utf", "ascii"))


def scripts(statistics: dict[str, Any]) -> list[dict[str, Any]]:
    """Scripts with their share, and the width of its piece of the bar in percent."""
    return [
        {**part, "width": f"{100 * part['share']:.2f}"}
        for part in statistics.get("scripts", [])
    ]


@dataclass(frozen=True)
class Length:
    """One bar of the histogram of lengths; `height` is percent of the highest."""

    shortest: int
    longest: int
    documents: int
    height: str


def lengths(statistics: dict[str, Any]) -> list[Length]:
    """The bars, those between the shortest and the longest that are empty as well."""
    counts = {bar["from"]: bar["documents"] for bar in statistics.get("lengths", [])}
    if not counts:
        return []
    most, start = max(counts.values()), min(counts)
    steps = max(counts).bit_length() - start.bit_length() + 1
    return [
        Length(start << n, (start << n + 1) - 1, count, f"{100 * count / most:.1f}")
        for n in range(steps)
        for count in [counts.get(start << n, 0)]
    ]


def longest(statistics: dict[str, Any]) -> int:
    """Characters of the longest row; of one that was read before they were kept, what the
    histogram allows."""
    bars = statistics.get("lengths", [])
    return statistics.get("longest") or max((bar["to"] for bar in bars), default=0)


def samples(version: DatasetVersion, tags: list[str], count: int = 3) -> list[Row]:
    """The first rows of a version as they are shown."""
    return [
        Row(n, sides(row, tags)) for n, row in enumerate(version.preview[:count], 1)
    ]


def reading_words(version: DatasetVersion) -> dict[str, Any]:
    """How a version was read, in words: columns by their roles, documents."""
    columns = version.options.get("columns") or {}
    return {
        "columns": [(ROLE_LABELS[role], name) for role, name in columns.items()],
        "documents": WAY_LABELS.get(version.options.get("documents", ""), ""),
    }


def models_from(dataset: Dataset) -> QuerySet[Model]:
    """Models of the targets that learn from a dataset."""
    return Model.objects.filter(
        target__in=dataset.targets.all(), withdrawn_at=None
    ).order_by("-created_at")


def guessed_table(guess: dict[str, Any], rows: int = 10) -> dict[str, list[Any]]:
    """The first records as they stand in the file: columns, and cells cut short."""
    columns = guess.get("available") or []
    return {
        "columns": columns,
        "rows": [
            [str(record.get(column, ""))[:300] for column in columns]
            for record in (guess.get("sample") or [])[:rows]
        ],
    }


def first_lines(versions: Iterable[Any]) -> dict[Any, str]:
    """The first text of some versions by their ids, in one query."""
    found = DatasetVersion.objects.filter(id__in=list(versions)).values_list(
        "id", "preview"
    )
    lines = {}
    for id, preview in found:
        shown = sides(preview[0], [])[-1].text if preview else ""
        lines[id] = " ".join(shown[:200].split())
    return lines
