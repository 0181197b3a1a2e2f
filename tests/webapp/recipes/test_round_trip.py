"""Clone, edit, export, import: nothing of a recipe is lost on the way."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from django.http import QueryDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.webapp.world import World
from training.spec import STAGES
from webapp.recipes.catalogue import launchable, recipes
from webapp.recipes.forms import TEXTS, RecipeForm
from webapp.recipes.models import WorkspaceRecipe
from webapp.recipes.recipe import Recipe, stage_of
from webapp.recipes.selectors import read_row
from webapp.recipes.services import change_recipe, clone_recipe, import_recipe

pytestmark = pytest.mark.django_db


def edited(row: WorkspaceRecipe, changed: dict[str, Any]) -> Recipe:
    """The recipe after its form was sent as a browser sends it, with changes."""
    empty, sent = RecipeForm(read_row(row)), QueryDict(mutable=True)
    for name in empty.fields:
        value = changed.get(name, empty[name].value())
        if isinstance(value, list):
            sent.setlist(name, value)
        elif value is not None:
            sent[name] = str(value).replace("\n", "\r\n")
    form = RecipeForm(read_row(row), sent)
    assert form.is_valid(), form.errors
    revision = form.cleaned_data["revision"]
    change_recipe(row=row, recipe=form.recipe(), revision=revision)
    row.refresh_from_db()
    return read_row(row)


def said(recipe: Recipe) -> Recipe:
    """A recipe without its name and its row, which each copy has of its own."""
    return dataclasses.replace(recipe, name="", own=None)


@pytest.mark.parametrize("name", recipes())
def test_a_clone_that_is_saved_exported_and_imported_stays_the_same(
    world: World, name: str
) -> None:
    row = clone_recipe(workspace=world.workspace, recipe=recipes()[name])
    cloned = read_row(row)
    title, section = cloned.title, "own"
    assert said(cloned) == said(
        dataclasses.replace(recipes()[name], title=title, section=section)
    )
    if cloned.launchable:
        assert edited(row, {}) == cloned
    again = import_recipe(workspace=world.workspace, text=row.toml)
    assert again.name != row.name and said(read_row(again)) == said(cloned)


def values_of(field: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    """Values that a setting can have."""
    about = field.metadata
    if about["choices"]:
        return st.sampled_from(about["choices"])
    low, high = about["low"], about["high"]
    if isinstance(field.default, int):
        return st.integers(int(low), int(high))
    if isinstance(field.default, float):
        return st.floats(low, high, allow_nan=False)
    return st.just(field.default)


# One setting against another is refused by the engine; these never are.
FREE = (
    "seed",
    "evaluations",
    "checkpoint_minutes",
    "precision",
    "gradient_checkpointing",
)
LINES = st.text(
    st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" \"'\\#=[]"),
    min_size=1,
    max_size=60,
).filter(lambda text: text.strip())


@given(data=st.data())
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_is_edited_is_imported_again(world: World, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(launchable())))
    row = clone_recipe(workspace=world.workspace, recipe=recipes()[name])
    changed: dict[str, Any] = {}
    for key, _stage in read_row(row).keyed:
        for field in dataclasses.fields(STAGES[stage_of(key)]):
            if field.name in FREE and data.draw(st.booleans()):
                changed[f"{key}.{field.name}"] = data.draw(values_of(field))
    texts = {text: data.draw(LINES) for text in TEXTS if data.draw(st.booleans())}
    lines = data.draw(st.lists(LINES, max_size=3))
    recipe = edited(row, changed | texts | {"changes": "\n".join(lines)})
    for place, value in changed.items():
        key, _dot, setting = place.partition(".")
        assert recipe.settings(key)[setting] == value
    for text, value in texts.items():
        assert getattr(recipe, text) == " ".join(value.split())
    assert recipe.changes == tuple(line.strip() for line in lines)
    again = import_recipe(workspace=world.workspace, text=row.toml)
    assert said(read_row(again)) == said(recipe)
    for made in (row, again):
        made.delete()
