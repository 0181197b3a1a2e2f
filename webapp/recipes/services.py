"""What people do with recipes of their own: clone, import, change, delete."""

from __future__ import annotations

import dataclasses

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from webapp.core.errors import Refusal
from webapp.recipes.catalogue import recipes
from webapp.recipes.models import WorkspaceRecipe
from webapp.recipes.reading import RecipeInvalid, parse, write
from webapp.recipes.recipe import Recipe
from webapp.workspaces.models import Workspace

TAKEN = {"import"}  # words of addresses
MOST_RECIPES = 500
LONGEST_NAME = 70  # leaves room for a number


def clone_recipe(*, workspace: Workspace, recipe: Recipe) -> WorkspaceRecipe:
    """The workspace's own copy, to be changed."""
    title = _("%(title)s, our own") % {"title": recipe.title}
    copy = dataclasses.replace(recipe, title=title, section="own")
    return _create(workspace, copy, f"{recipe.name}-own")


def import_recipe(*, workspace: Workspace, text: str) -> WorkspaceRecipe:
    """A recipe from TOML; raises Refusal with the line for what is none."""
    try:
        recipe = parse(text)
    except RecipeInvalid as problem:
        raise Refusal(problem.sentence, field="toml") from problem
    return _create(workspace, recipe, recipe.name)


def change_recipe(*, row: WorkspaceRecipe, recipe: Recipe, revision: int) -> None:
    """Write a changed recipe over the revision that was being looked at."""
    changed = _checked(dataclasses.replace(recipe, name=row.name, section="own"))
    rows = WorkspaceRecipe.objects.filter(id=row.id, revision=revision)
    if not rows.update(toml=changed, revision=F("revision") + 1):
        raise Refusal(
            _(
                "Somebody has changed this recipe meanwhile, and nothing was saved. Open "
                "it again, or export yours from another tab first."
            )
        )


def delete_recipe(*, row: WorkspaceRecipe) -> None:
    """Put it away; jobs that were made of it keep their settings."""
    WorkspaceRecipe.objects.filter(id=row.id).update(deleted_at=timezone.now())


def restore_recipe(*, row: WorkspaceRecipe) -> None:
    """Undo a deletion."""
    WorkspaceRecipe.objects.filter(id=row.id).update(deleted_at=None)


def _create(workspace: Workspace, recipe: Recipe, wanted: str) -> WorkspaceRecipe:
    if WorkspaceRecipe.objects.filter(workspace=workspace).count() >= MOST_RECIPES:
        raise Refusal(_("A workspace can have %d recipes at most.") % MOST_RECIPES)
    stem = slugify(wanted)[:LONGEST_NAME].strip("-_").replace("_", "-") or "recipe"
    for number in range(1, MOST_RECIPES + 2):
        name = stem if number == 1 else f"{stem}-{number}"
        if name in recipes() or name in TAKEN:
            continue
        text = _checked(dataclasses.replace(recipe, name=name, section="own"))
        try:
            with transaction.atomic():
                return WorkspaceRecipe.objects.create(
                    workspace=workspace, name=name, toml=text
                )
        except IntegrityError:  # taken, perhaps by one that was put away
            continue
    raise Refusal(_("There is no free name for this recipe."))


def _checked(recipe: Recipe) -> str:
    """As TOML that reads back; a Refusal where it does not."""
    text = write(recipe)
    try:
        parse(text)
    except RecipeInvalid as problem:
        raise Refusal(problem.sentence) from problem
    return text
