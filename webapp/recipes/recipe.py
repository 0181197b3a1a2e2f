"""What a recipe is: stages in order, with what it fixes of each and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext_lazy as _

# Sections of the gallery, in order.
SECTIONS = {
    "pipelines": _("Whole pipelines"),
    "vocabulary": _("Vocabulary and embeddings"),
    "data": _("Data and instructions"),
    "merging": _("Merging and forgetting"),
    "own": _("Recipes of this workspace"),
}

# What a recipe may need beside base and text: what to do where it is missing.
NEEDS = {
    "text": _("Add a dataset of plain text in the language."),
    "protected": _("Add text of a language to protect, on the target's page."),
    "parallel": _("Add sentences with their translations."),
    "dictionary": _(
        "Add a dictionary: a parallel dataset of single words or names with their "
        "translations."
    ),
    "instructions": _("Add questions with answers."),
    "answers": _("Add questions with answers, or sentences with translations."),
    "words": _("Add a dictionary, or sentences with their translations."),
    "preferences": _("Add answers with the better one marked."),
    "target": _("Add a dataset of plain text in the language."),
    "gpu": _("It needs a GPU; no known host has one."),
    "untied": _(
        "It needs a base whose input and output rows are two matrices; this base has one."
    ),
    "related": _("Add text of related languages to what the target learns from."),
    "instruct": _("Choose the base's instruction-tuned sibling."),
    "donor": _("Choose a donor: a model whose tokenizer already has the language."),
    "models": _("Choose the models to merge with."),
    "target_vectors": _("Give word vectors of the language."),
    "base_vectors": _("Give word vectors of the base's language."),
    "service": _(
        "It needs a service that writes, and no known host names one: whoever runs the "
        "site sets MOTHERTONGUE_TRANSLATOR_URL where the worker runs and starts it anew."
    ),
}

# The same where no target is looked at: what it takes, and nothing is said to be missing.
TAKES = {
    "text": _("Plain text in the language."),
    "protected": _("Text of a language to protect."),
    "parallel": _("Sentences with their translations."),
    "dictionary": _(
        "A dictionary: a parallel dataset of single words or names with their "
        "translations."
    ),
    "instructions": _("Questions with answers."),
    "answers": _("Questions with answers, or sentences with translations."),
    "words": _("A dictionary, or sentences with their translations."),
    "preferences": _("Answers with the better one marked."),
    "target": _("Plain text in the language."),
    "gpu": _("A host with a GPU."),
    "untied": _("A base whose input and output rows are two matrices."),
    "related": _("Text of related languages."),
    "instruct": _("The base's instruction-tuned sibling."),
    "donor": _("A donor: a model whose tokenizer already has the language."),
    "models": _("Models to merge with."),
    "target_vectors": _("Word vectors of the language."),
    "base_vectors": _("Word vectors of the base's language."),
    "service": _("A host on which a service that writes is named."),
}


@dataclass(frozen=True)
class RecipeStage:
    """A stage's name and the settings that the recipe fixes; the rest is derived.

    `share` is its weight when the minutes are divided among stages of its kind.
    """

    name: str
    settings: dict[str, Any]
    share: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """An ordered list of stages with its source and when to choose it.

    `changes` lists what differs from the source, `needs` names keys of NEEDS, and
    `unsupported` says why it cannot be launched, empty where it can.
    """

    name: str
    title: str
    summary: str
    when: str
    cost: str
    source: str
    checked: str
    stages: tuple[RecipeStage, ...]
    section: str = "own"
    changes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    unsupported: str = ""
    own: Any = field(
        default=None, compare=False
    )  # the workspace's row, where it is one

    @property
    def launchable(self) -> bool:
        """Whether a job can be made of it."""
        return not self.unsupported

    @property
    def keyed(self) -> list[tuple[str, RecipeStage]]:
        """Stages with their keys: the name, and from the second of a name on `name#2`."""
        keys = stage_keys(stage.name for stage in self.stages)
        return list(zip(keys, self.stages, strict=True))

    def settings(self, key: str) -> dict[str, Any]:
        """What the recipe fixes of the stage with this key."""
        return next((dict(s.settings) for k, s in self.keyed if k == key), {})


def stage_keys(names: Iterable[str]) -> list[str]:
    """Each stage's key: `read`, `read#2`, `read#3` for the first three of a name."""
    seen: dict[str, int] = {}
    keys = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        keys.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return keys


def stage_of(key: str) -> str:
    """The stage's name of a key."""
    return key.partition("#")[0]
