"""What a launch would do: answers, inputs, recipe and plan; nothing is written here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from training.errors import SpecInvalid
from training.spec import Resources, StageSettings
from webapp.bases.models import BaseModel
from webapp.core.errors import Refusal
from webapp.jobs.inputs import Inputs, gather, situation_of
from webapp.jobs.planning import adviser, constants, needs
from webapp.jobs.planning.adviser import Advice
from webapp.jobs.planning.plan import Overrides, Plan, make_plan
from webapp.jobs.planning.situation import GOALS, Situation
from webapp.recipes.recipe import Recipe
from webapp.recipes.selectors import recipe_named
from webapp.targets.models import LanguageTarget
from webapp.workspaces.models import Workspace

ADVISED = ""  # the recipe's name where the adviser shall choose
MINUTES_AT_LEAST, MINUTES_AT_MOST = 0.2, 100_000.0
BASES = ("instruct", "donor")  # resources that are one base model each


@dataclass(frozen=True)
class Answers:
    """The questions that the target has not answered; `datasets` None means all.

    `faster`: speed of writing counts for more than quality; `knows`: the base writes the
    language already. `resources` names bases by
    id: {"instruct": id, "donor": id, "models": [id]}; from a terminal also files of word
    vectors by path.
    """

    minutes: float = 10.0
    goal: str = "answer"
    datasets: list[str] | None = None
    seed: int = 1
    faster: bool = False
    knows: bool = False
    resources: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As kept on the job's row."""
        return asdict(self)


@dataclass(frozen=True)
class Proposal:
    """A launch as far as it is thought out; `advice` is there where it was asked for.

    `base` is the folder and name to start from where it is not the target's base.
    """

    recipe: Recipe
    plan: Plan
    inputs: Inputs
    advice: Advice | None = None
    base: tuple[str, str] | None = None


def propose(
    *,
    target: LanguageTarget,
    answers: Answers,
    recipe: str | Recipe = ADVISED,
    overrides: Overrides | None = None,
) -> Proposal:
    """What a launch would do; raises Refusal for what is not possible."""
    inputs, situation = situation_for(target, answers)
    advice = None
    if recipe == ADVISED:
        advice = adviser.advise(situation)
        recipe = advice.recipe
    if isinstance(recipe, str):
        recipe = _named(target.workspace, recipe)
    if recipe.unsupported:
        raise Refusal(
            _("The recipe “%(title)s” cannot be launched here: %(reason)s")
            % {"title": recipe.title, "reason": recipe.unsupported},
            field="recipe",
        )
    refuse_missing(situation, recipe)
    try:
        advised = advice.choices if advice else None
        plan = make_plan(situation, recipe, overrides, advised)
    except SpecInvalid as problem:
        raise Refusal(problem.sentence, field=problem.field) from problem
    refuse_missing(situation, recipe, plan.stages)
    if advice:
        plan = dataclasses.replace(plan, warnings=[*advice.warnings, *plan.warnings])
    return Proposal(recipe, plan, inputs, advice)


def situation_for(target: LanguageTarget, answers: Answers) -> tuple[Inputs, Situation]:
    """What there is to learn from; raises Refusal for answers that cannot be."""
    if not MINUTES_AT_LEAST <= answers.minutes <= MINUTES_AT_MOST:
        raise Refusal(
            _("The time must be between %(low)g and %(high)g minutes.")
            % {"low": MINUTES_AT_LEAST, "high": MINUTES_AT_MOST},
            field="minutes",
        )
    if answers.goal not in GOALS:
        raise Refusal(_("Choose what the model is for."), field="goal")
    if target.base.state != BaseModel.State.READY:
        raise Refusal(
            _("The base model is not ready yet. Wait until it has been brought."),
            field="target",
        )
    inputs = gather(target, answers.datasets)
    inputs.resources = _resources(target.workspace, answers.resources)
    situation = situation_of(target, inputs, minutes=answers.minutes, goal=answers.goal)
    return inputs, dataclasses.replace(
        situation, faster=answers.faster, knows=answers.knows
    )


def refuse_missing(
    situation: Situation, recipe: Recipe, stages: Iterable[StageSettings] = ()
) -> None:
    """Refuse what lacks what it learns from, before it costs anything."""
    lacking = needs.missing(situation, recipe, stages)
    if not lacking:
        return
    if "text" in lacking:
        raise Refusal(
            _(
                "There is too little text in the language to learn from: %(known)s "
                "characters. Add a dataset of plain text with at least %(least)s."
            )
            % {
                "known": situation.target_characters,
                "least": f"{constants.TOO_LITTLE_CHARACTERS:,}",
            },
            field="datasets",
        )
    given = {*BASES, "models"} & set(lacking)
    raise Refusal(
        _("The recipe “%(title)s” needs more: %(what)s Or choose another recipe.")
        % {"title": recipe.title, "what": " ".join(needs.sentences(lacking))},
        field=min(given) if given else "datasets",
    )


def _named(workspace: Workspace, name: str) -> Recipe:
    recipe = recipe_named(workspace, name)
    if recipe is None:
        raise Refusal(_("There is no recipe of that name."), field="recipe")
    return recipe


def _resources(workspace: Workspace, given: dict[str, Any]) -> Resources:
    """Folders of the bases that were chosen; a Refusal for one that is not there."""
    values: dict[str, Any] = {}
    for name in BASES:
        if given.get(name):
            values[name] = _folder(workspace, given[name], name)
    values["models"] = tuple(
        _folder(workspace, id, "models") for id in given.get("models") or ()
    )
    for name in ("target_vectors", "base_vectors"):
        values[name] = str(given.get(name) or "")
    return Resources(**values)


def _folder(workspace: Workspace, id: Any, field: str) -> str:
    try:
        base = BaseModel.objects.filter(
            workspace=workspace, deleted_at=None, state=BaseModel.State.READY
        ).get(id=UUID(str(id)))
    except (BaseModel.DoesNotExist, ValueError):
        raise Refusal(_("This model is not there any more."), field=field) from None
    return base.folder
