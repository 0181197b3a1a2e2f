"""What pages ask about recipes: those of the folder and the workspace's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext_lazy as _

from webapp.recipes.catalogue import recipes
from webapp.recipes.models import WorkspaceRecipe
from webapp.recipes.reading import RecipeInvalid, parse
from webapp.recipes.recipe import SECTIONS, Recipe
from webapp.workspaces.models import Workspace

CANNOT_READ = _("This recipe was written for other settings than there are now: %s")


def recipes_of(workspace: Workspace) -> dict[str, Recipe]:
    """Every recipe that a workspace can see by name, its own last."""
    rows = WorkspaceRecipe.objects.filter(workspace=workspace, deleted_at=None)
    own = [read_row(row) for row in rows.order_by("name")]
    return {**recipes(), **{recipe.name: recipe for recipe in own}}


def recipe_named(workspace: Workspace, name: str) -> Recipe | None:
    """One recipe, the workspace's own or one of the folder; None where there is none."""
    if known := recipes().get(name):
        return known
    row = WorkspaceRecipe.objects.filter(
        workspace=workspace, name=name, deleted_at=None
    ).first()
    return read_row(row) if row else None


def read_row(row: WorkspaceRecipe) -> Recipe:
    """A workspace's recipe; one that the engine no longer understands says so."""
    try:
        recipe = parse(row.toml)
    except RecipeInvalid as problem:
        texts = ("summary", "when", "cost", "source", "checked")
        empty = dict.fromkeys(texts, "")
        sentence = CANNOT_READ % problem.sentence
        recipe = Recipe(
            name=row.name, title=row.name, stages=(), unsupported=sentence, **empty
        )
    return dataclasses.replace(recipe, name=row.name, section="own", own=row)


def by_section(
    found: Iterable[Recipe], *, q: str = "", section: str = ""
) -> list[dict[str, Any]]:
    """Recipes in the sections of the gallery, narrowed to words and a section."""
    words = q.casefold().split()
    groups: dict[str, list[Recipe]] = {name: [] for name in SECTIONS}
    for recipe in found:
        said = _said(recipe)
        if section in ("", recipe.section) and all(word in said for word in words):
            groups[recipe.section].append(recipe)
    return [
        {"name": name, "title": SECTIONS[name], "recipes": group}
        for name, group in groups.items()
        if group
    ]


def _said(recipe: Recipe) -> str:
    """Everything that a search may find a recipe by."""
    texts = [recipe.name, recipe.title, recipe.summary, recipe.when, recipe.source]
    texts += [*recipe.changes, *recipe.needs, recipe.unsupported]
    texts += [
        f"{key} {value}" for s in recipe.stages for key, value in s.settings.items()
    ]
    texts += [stage.name for stage in recipe.stages]
    return " ".join(texts).casefold()
