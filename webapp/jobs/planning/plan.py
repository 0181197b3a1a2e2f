"""The whole plan: stages in order, why each setting has its value, what to expect."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from training.errors import SpecInvalid
from training.spec import (
    STAGES,
    StageSettings,
    check_order,
    stage_from_json,
    unknown,
)
from webapp.jobs.planning import (
    answering,
    cautions,
    predictions,
    pretraining,
    rows_advice,
    tuning,
    vocabulary,
)
from webapp.jobs.planning import constants as c
from webapp.jobs.planning.situation import Choice, Situation
from webapp.recipes.recipe import Recipe, RecipeStage, stage_of

Overrides = dict[str, dict[str, Any]]  # stage, or stage#2 -> setting -> value


@dataclass(frozen=True)
class Plan:
    """What a job will do. `reasons` holds one entry for every derived setting."""

    stages: tuple[StageSettings, ...]
    reasons: list[dict[str, Any]]
    warnings: list[str]
    predictions: dict[str, float]


def make_plan(
    situation: Situation,
    recipe: Recipe,
    overrides: Overrides | None = None,
    advised: Mapping[str, list[Choice]] | None = None,
) -> Plan:
    """Derive every stage of the recipe; what it, the adviser or a person sets follows.

    Raises SpecInvalid naming the field for a setting that is not possible.
    """
    overrides, advised = overrides or {}, advised or {}
    stages, reasons = _stages(situation, recipe, overrides, advised)

    def replan(minutes: float) -> list[StageSettings]:
        longer = dataclasses.replace(situation, minutes=minutes)
        return _stages(longer, recipe, overrides, advised)[0]

    return Plan(
        stages=tuple(stages),
        reasons=reasons,
        warnings=[
            *cautions.warn(situation, stages),
            *answering.warn(situation, stages, replan),
        ],
        predictions=predictions.predict(situation, stages),
    )


def _stages(
    situation: Situation,
    recipe: Recipe,
    overrides: Overrides,
    advised: Mapping[str, list[Choice]],
) -> tuple[list[StageSettings], list[dict[str, Any]]]:
    """The stages with all their settings, and the reason of each."""
    wanted = planned_stages(situation, recipe)
    for key in overrides:
        if key not in [known for known, _stage in wanted]:
            raise SpecInvalid(key, _no_stage(key, wanted))
    minutes = split_minutes(situation, wanted)
    stages, reasons = [], []
    for key, stage in wanted:
        chosen = overrides.get(key, {})
        told = advised.get(key, [])
        values = {choice.setting.partition(".")[2]: choice.value for choice in told}
        method = (stage.settings | values | chosen).get("method")
        found = [
            *_derived(stage.name, situation, minutes.get(key, 0.0), method),
            *_decided(key, stage.settings, _("The recipe says so."), recipe),
            *told,
        ]
        if stage.name == vocabulary.STAGE and chosen.get("method", "keep") != "keep":
            found += vocabulary.derive_extension(situation)  # in place of "none"
        found += _decided(key, chosen, _("You chose this."), None)
        choices = {choice.setting.partition(".")[2]: choice for choice in found}
        values = {name: choice.value for name, choice in choices.items()}
        stages.append(_settings(key, stage.name, values))
        for name, choice in choices.items():
            setting = f"{key}.{name}"
            reasons.append(dataclasses.asdict(choice) | {"setting": setting})
    check_order(stages)
    return stages, reasons


def _no_stage(key: str, wanted: list[tuple[str, RecipeStage]]) -> str:
    known = ", ".join(known for known, _stage in wanted)
    if key == tuning.STAGE:
        return _(
            "This job learns no answering: there are no questions with answers and no "
            "translations, or the model is to continue text. Its stages are %(known)s."
        ) % {"known": known}
    return _("This job has no stage “%(key)s”; its stages are %(known)s.") % {
        "key": key,
        "known": known,
    }


def planned_stages(
    situation: Situation, recipe: Recipe
) -> list[tuple[str, RecipeStage]]:
    """The recipe's stages by key, without tuning where there is nothing to tune on and
    nothing will be invented."""
    answers = situation.goal != "write"
    return [
        (key, stage)
        for key, stage in recipe.keyed
        if stage.name != tuning.STAGE
        or situation.tunes
        or (answers and stage.settings.get("invented_conversations"))
    ]


def split_minutes(
    situation: Situation, wanted: list[tuple[str, RecipeStage]]
) -> dict[str, float]:
    """Minutes for each key whose stage takes any: what measuring leaves is divided,
    about 70 to 30, between reading and answering, and there by the recipe's shares."""
    overhead = predictions.overhead_seconds(situation) / 60
    least = situation.minutes * c.LEARNING_SHARE_AT_LEAST
    learning = max(situation.minutes - overhead, least)
    weights: dict[bool, dict[str, float]] = {True: {}, False: {}}  # answering?
    for key, stage in wanted:
        if "minutes" in {
            field.name for field in dataclasses.fields(STAGES[stage.name])
        }:
            usual = c.STAGE_WEIGHTS.get(stage.name, 1.0)
            weights[stage.name in c.ANSWERING][key] = usual * stage.share
    share = (
        c.PRETRAINING_SHARE_TO_TRANSLATE
        if situation.goal == "translate"
        else c.PRETRAINING_SHARE
    )
    if not (weights[True] and weights[False]):
        share = 1.0 if weights[False] else 0.0
    minutes = {}
    for answers, part in ((False, share), (True, 1 - share)):
        whole = sum(weights[answers].values())
        for key, weight in weights[answers].items():
            given = learning * part * weight / whole
            minutes[key] = max(c.STAGE_MINUTES_AT_LEAST, given)
    return minutes


def _derived(
    name: str, situation: Situation, minutes: float, method: str | None
) -> list[Choice]:
    if name == vocabulary.STAGE:
        found = vocabulary.derive(situation)
        keeps = (method or found[0].value) in ("keep", "prune")
        return found if keeps else [*found, rows_advice.initialisation(situation)]
    if name == pretraining.STAGE:
        return pretraining.derive(situation, minutes=minutes, method=method)
    if name == tuning.STAGE:
        return tuning.derive(situation, minutes=minutes)
    if minutes:
        reason = _("Its part of your time, by the recipe's shares.")
        found = [Choice(f"{name}.minutes", round(minutes, 2), reason)]
        if name == rows_advice.TEACHING:
            found.append(rows_advice.objective(situation))
        return found
    return []


def _settings(key: str, name: str, values: dict[str, Any]) -> StageSettings:
    """Settings of a stage; what cannot be is said of its `key`, as stages may repeat."""
    try:
        return stage_from_json({"stage": name, **values})
    except SpecInvalid as problem:
        here = problem.field.replace(name, key, 1)
        sentence = problem.sentence.replace(problem.field, here)
        raise SpecInvalid(here, sentence) from problem


def _decided(
    key: str, values: dict[str, Any], reason: str, recipe: Recipe | None
) -> list[Choice]:
    source = recipe.source if recipe else ""
    known = {field.name for field in dataclasses.fields(STAGES[stage_of(key)])}
    for setting in values:
        if setting not in known:
            raise unknown(key, setting, known)
    return [Choice(f"{key}.{name}", values[name], reason, source) for name in values]
