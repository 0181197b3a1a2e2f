"""How things are asked for, by the language the request is written in.

`../translation_prompts.toml` has requests for a translation in many languages,
`../task_prompts.toml` the other tasks. Prompts in the language itself, even translated by
machine, help on native prompts (BLOOMZ and xP3, Muennighoff et al. 2023,
arXiv:2211.01786). A language that has no wording is asked in the protected one or in
English.
"""

from __future__ import annotations

import random
import tomllib
from pathlib import Path

import langcodes

FOLDER = Path(__file__).resolve().parents[1]

Wordings = dict[str, dict[str, list[str]]]


def load_wordings(folder: Path = FOLDER) -> Wordings:
    """{language: {task: [wording]}}; the task of a translation is "translation"."""
    found: Wordings = {}
    with (folder / "translation_prompts.toml").open("rb") as file:
        for tag, entry in tomllib.load(file).items():
            found[tag] = {"translation": entry["wordings"]}
    with (folder / "task_prompts.toml").open("rb") as file:
        for tag, tasks in tomllib.load(file).items():
            found.setdefault(tag, {}).update(tasks)
    return found


def draw(
    wordings: Wordings, task: str, languages: tuple[str, ...], dice: random.Random
) -> tuple[str, str]:
    """(language, wording) for a task, of one of `languages` or of English."""
    readers = [
        tag
        for tag in dict.fromkeys(("en", *languages))
        if task in wordings.get(tag, {})
    ]
    reader = dice.choice(readers)
    return reader, dice.choice(wordings[reader][task])


def language_name(language: str, reader: str) -> str:
    """The language's name in the language `reader`; its tag where there is none."""
    try:
        name = langcodes.Language.get(language).display_name(reader)
    except (ValueError, LookupError):
        return language
    return language if name.startswith("Unknown language") else name


def own_name(language: str) -> str:
    """The language's name for itself, or its English name where that is unknown."""
    try:
        name = langcodes.Language.get(language).autonym()
    except (ValueError, LookupError):
        return language
    if not name or name.startswith("Unknown language"):
        return language_name(language, "en")
    return name.strip("་ ")
