"""How the rows of new pieces begin, and whether they are taught before the rest.

A table of findings, each with its source, and pure functions that choose from it. The
comparison behind it is bench/RESULTS.md, "Embedding initialisations"; the papers are
EEVE (Kim et al. 2024) and token distillation (Dobler et al. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from training.spec import StageSettings
from webapp.jobs.planning import vocabulary
from webapp.jobs.planning.situation import Choice, Reason, Situation

EXTENDING, TEACHING = vocabulary.STAGE, "distil_embeddings"
HERE = "bench/RESULTS.md"
EEVE, DISTILLATION = "EEVE, Kim et al. 2024", "Dobler et al. 2025"


@dataclass(frozen=True)
class Finding:
    """A value of a setting, why, and who found it."""

    value: str
    sentence: Promise
    source: str

    def choice(self, setting: str) -> Choice:
        """As the value of a setting, "stage.name"."""
        return Choice(setting, self.value, str(self.sentence), self.source)


# What the rows begin as.
TIED = Finding(
    "mean",
    gettext_lazy(
        "New rows begin as the mean of their old pieces' rows: the base has one matrix "
        "for reading and writing, and no start was better there."
    ),
    f"{DISTILLATION}; {HERE}",
)
SLIVERS = Finding(
    "mean",
    gettext_lazy(
        "New rows begin as the mean of their old pieces' rows, for writing too: the "
        "first piece of a new token is the first byte of a letter here, which most of "
        "them share, and beginning with it costs the protected language more."
    ),
    HERE,
)
UNTIED = Finding(
    "mean_first",
    gettext_lazy(
        "New rows begin as the mean of their old pieces' rows, for writing as the first "
        "of them, which the base would have written there."
    ),
    f"{EEVE}; {HERE}",
)
# What rows are taught from, where they are taught by themselves.
TEXT = Finding(
    "next_token",
    gettext_lazy(
        "The base cuts letters of your text into bytes, so that it can hardly read it "
        "and has little to teach: the rows learn from the text alone."
    ),
    HERE,
)
BASE = Finding(
    "distil",
    gettext_lazy(
        "The rows learn from what the base makes of the same text in its old pieces."
    ),
    f"{DISTILLATION}; {HERE}",
)


@dataclass(frozen=True)
class Rows:
    """What is advised for the rows: choices of the two stages, and the reasons."""

    start: list[Choice]
    teaching: list[Choice]
    reasons: list[Reason]


def decide(situation: Situation, stages: Mapping[str, Mapping[str, Any]]) -> Rows:
    """For a recipe that extends; `stages`: its stages with what it fixes itself."""
    start, teaching = [], []
    if "initialisation" not in stages[EXTENDING]:
        start = [initialisation(situation)]
    if TEACHING in stages and "objective" not in stages[TEACHING]:
        teaching = [objective(situation)]
    reasons = [Reason(choice.reason, choice.source) for choice in [*start, *teaching]]
    if TEACHING not in stages:
        reasons.append(reason_not_to_teach())
    return Rows(start, teaching, reasons)


def initialisation(situation: Situation) -> Choice:
    """extend_vocabulary.initialisation."""
    if situation.passport.get("tied", False):
        found = TIED
    else:
        found = SLIVERS if vocabulary.cuts_letters(situation) else UNTIED
    return found.choice(f"{EXTENDING}.initialisation")


def objective(situation: Situation) -> Choice:
    """distil_embeddings.objective."""
    found = BASE if has_much_to_teach(situation) else TEXT
    return found.choice(f"{TEACHING}.objective")


def has_much_to_teach(situation: Situation) -> bool:
    """Whether the base reads the text well enough for new rows to learn from it."""
    return situation.knows or not vocabulary.cuts_letters(situation)


def reason_not_to_teach() -> Reason:
    """Why the rows have no stage of their own."""
    return Reason(
        _(
            "The new rows are not taught by themselves first: the same tokens spent on "
            "the whole model gained more (Swahili 2.46 bits per byte against 2.60) or as "
            "much (Kazakh 1.85 and 1.84)."
        ),
        HERE,
    )


def reason_to_leave_the_body() -> Reason:
    """Why only the rows learn, over a base that answers and is to write faster."""
    return Reason(
        _(
            "The base answers already and spells your language: only the rows of new "
            "pieces learn, from what the base makes of the same text, and every weight "
            "that it answers with stays as it is."
        ),
        f"Token distillation, {DISTILLATION}",
    )


def warn(situation: Situation, settings: dict[str, StageSettings]) -> list[str]:
    """Where rows are to learn from a base that can hardly read the text."""
    taught = getattr(settings.get(TEACHING), "objective", "")
    if taught != BASE.value or has_much_to_teach(situation):
        return []
    return [
        _(
            "The rows are to learn from the base, which cuts letters of your text into "
            "bytes and has little to teach; next_token as the objective does as much or "
            "more there."
        )
    ]
