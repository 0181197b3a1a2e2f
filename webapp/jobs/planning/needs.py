"""What a recipe needs and the situation does not have, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable

from training.spec import StageSettings
from webapp.jobs.planning import constants as c
from webapp.jobs.planning.situation import Situation
from webapp.recipes.recipe import NEEDS, Recipe

# Needs that several roles can meet, or that go by another name there.
ONE_OF = {
    "answers": ("instructions", "parallel"),
    "words": ("dictionary", "parallel"),
}


def missing(
    situation: Situation, recipe: Recipe, stages: Iterable[StageSettings] = ()
) -> list[str]:
    """Names of `recipe.NEEDS` that are not met: the recipe's own, and those of the
    choices that its stages make (`training.settings.needs`)."""
    lacking = [name for name in _usual(recipe) if not _met(situation, name)]
    for stage in stages:
        lacking += _of_choices(stage, situation.has)
    return list(dict.fromkeys(lacking))


def sentences(names: Iterable[str]) -> list[str]:
    """What to add for each."""
    return [str(NEEDS[name]) for name in names]


def _usual(recipe: Recipe) -> Iterable[str]:
    """What the recipe states, and what its stages cannot be without."""
    names = {stage.name for stage in recipe.stages}
    if "continue_pretraining" in names:
        yield "text"
    elif "tune_instructions" in names and "align_preferences" not in names:
        yield "answers"
    if "align_preferences" in names:
        yield "preferences"
    yield from recipe.needs


def _of_choices(stage: StageSettings, has: frozenset[str]) -> Iterable[str]:
    """Of each group of places one is enough; a group without a word of its own is named
    by its first place."""
    for _field, _value, groups in stage.needs():
        for group in groups:
            names = tuple(place.partition(".")[2] for place in group)
            if has.isdisjoint(names):
                words = [word for word, of in ONE_OF.items() if set(of) == set(names)]
                yield (words or names)[0]


def _met(situation: Situation, name: str) -> bool:
    if name == "text":
        return situation.target_characters >= c.TOO_LITTLE_CHARACTERS
    if name == "gpu":
        return situation.gpu
    if name == "untied":
        return not situation.passport.get("tied", False)
    if name in ONE_OF:
        return any(role in situation.has for role in ONE_OF[name])
    return name in situation.has
