"""What a dataset is for in a job: told from its kind, its languages and its rows."""

from __future__ import annotations

from webapp.core.languages import same_language
from webapp.datasets.models import Dataset, DatasetVersion, Kind

ROLES = {
    Kind.MONOLINGUAL: "target",
    Kind.PARALLEL: "parallel",
    Kind.INSTRUCTIONS: "instructions",
    Kind.PREFERENCES: "preferences",
}
# Rows of a dictionary are words and names: most have at most so many words and signs.
DICTIONARY_WORDS, DICTIONARY_CHARACTERS = 3, 30


def role_of(dataset: Dataset, version: DatasetVersion, language: str) -> str:
    """The role in `training.spec.Data`; empty for a dataset of no known kind.

    Text that states other languages than the target's is `related`; parallel rows of
    single words or names are a `dictionary`.
    """
    role = ROLES.get(Kind(dataset.kind), "") if dataset.kind else ""
    if role == "target" and dataset.languages:
        if not any(same_language(tag, language) for tag in dataset.languages):
            return "related"
    if role == "parallel" and is_dictionary(version):
        return "dictionary"
    return role


def is_dictionary(version: DatasetVersion) -> bool:
    """Whether nearly all previewed rows are words rather than sentences, on both sides:
    words with definitions are no dictionary."""
    return all(_are_words(version, side) for side in ("source", "target"))


def _are_words(version: DatasetVersion, side: str) -> bool:
    texts = [str(row[side]) for row in version.preview if row.get(side)]
    short = [
        text
        for text in texts
        if len(text) <= DICTIONARY_CHARACTERS
        and len(text.split()) <= DICTIONARY_WORDS
        and text.rstrip()[-1:] not in ".?!。？！།"
    ]
    return len(texts) > 0 and len(short) >= 0.9 * len(texts)
