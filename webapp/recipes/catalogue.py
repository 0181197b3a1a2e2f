"""Recipes as they stand in training/recipes/: data, never code.

A new recipe is a copy of the nearest file with another name; nothing else is needed.
"""

from __future__ import annotations

import functools
from pathlib import Path

from django.conf import settings

from webapp.recipes.reading import RecipeInvalid, parse
from webapp.recipes.recipe import SECTIONS, Recipe

FIRST = "default"


def folder() -> Path:
    """Where the recipes stand."""
    return settings.ROOT / "training" / "recipes"


@functools.cache
def recipes() -> dict[str, Recipe]:
    """All recipes by name: the default first, then by section and title."""
    found = [read(path) for path in sorted(folder().glob("*.toml"))]
    order = list(SECTIONS)
    found.sort(key=lambda r: (r.name != FIRST, order.index(r.section), r.title.lower()))
    return {recipe.name: recipe for recipe in found}


def launchable() -> dict[str, Recipe]:
    """Those of which a job can be made."""
    return {name: recipe for name, recipe in recipes().items() if recipe.launchable}


def read(path: Path) -> Recipe:
    """One recipe of the folder; RecipeInvalid where the file is not one."""
    recipe = parse(path.read_text(encoding="utf-8"))
    if recipe.name != path.stem:
        raise RecipeInvalid(f"{path.name} holds the recipe {recipe.name!r}.")
    return recipe
