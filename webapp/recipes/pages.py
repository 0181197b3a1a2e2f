"""A recipe's stages as its page shows them."""

from __future__ import annotations

import dataclasses
from typing import Any

from training.spec import STAGES
from webapp.core.errors import Refusal
from webapp.jobs.planning.needs import missing, sentences
from webapp.jobs.planning.situation import Situation
from webapp.jobs.proposal import Answers, situation_for
from webapp.jobs.words import key_title, stage_story
from webapp.recipes.recipe import TAKES, Recipe
from webapp.targets.models import LanguageTarget


def stage_rows(recipe: Recipe) -> list[dict[str, Any]]:
    """Each stage with what the recipe fixes, in the settings' own words."""
    several = {name for name in STAGES if _count(recipe, name) > 1}
    rows = []
    for key, stage in recipe.keyed:
        about = {field.name: field for field in dataclasses.fields(STAGES[stage.name])}
        fixed = [
            {"name": name, "value": value, **about[name].metadata}
            for name, value in stage.settings.items()
        ]
        rows.append(
            {
                "key": key,
                "title": key_title(key),
                "story": stage_story(stage.name),
                "fixed": fixed,
                "open": len(about) - len(fixed),
                "share": stage.share if stage.name in several else None,
            }
        )
    return rows


def with_needs(
    groups: list[dict[str, Any]], target: LanguageTarget | None
) -> list[dict[str, Any]]:
    """Groups of the gallery with their `cards`: each recipe, what it needs in words, and
    where they are looked at for a target what it lacks there; these stand in `lacking`."""
    situation = _situation(target) if target else None
    filled = []
    for group in groups:
        cards = [
            {
                "recipe": recipe,
                "needs": [TAKES[need] for need in recipe.needs],
                "lacks": _lacks(recipe, situation) if situation else [],
            }
            for recipe in group["recipes"]
        ]
        fit = [card for card in cards if not card["lacks"]]
        lacking = [card for card in cards if card["lacks"]]
        filled.append(group | {"cards": fit, "lacking": lacking})
    return filled


def _situation(target: LanguageTarget) -> Situation | None:
    """None where nothing can be planned yet: the launch page then says why."""
    try:
        return situation_for(target, Answers())[1]
    except Refusal:
        return None


def _lacks(recipe: Recipe, situation: Situation) -> list[str]:
    if not recipe.launchable:
        return []
    stages = [STAGES[stage.name](**stage.settings) for stage in recipe.stages]
    return sentences(missing(situation, recipe, stages))


def _count(recipe: Recipe, name: str) -> int:
    return sum(stage.name == name for stage in recipe.stages)
