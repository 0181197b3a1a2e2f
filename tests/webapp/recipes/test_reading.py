from __future__ import annotations

import pytest

from webapp.recipes.catalogue import folder, recipes
from webapp.recipes.reading import RecipeInvalid, parse, write
from webapp.recipes.recipe import stage_keys, stage_of

WHOLE = """[recipe]
name = "mine"
title = "Mine"
summary = "Reads twice."
when = "Never."
cost = "Time."
source = "Nobody 2026"
checked = "Not checked."
section = "merging"
changes = ["shorter", "with \\"quotes\\" and ü"]
needs = ["text"]

[[stages]]
name = "prepare"

[[stages]]
name = "continue_pretraining"
share = 0.25
steps = 3
learning_rate = 1e-5

[[stages]]
name = "continue_pretraining"

[[stages]]
name = "evaluate"
"""


@pytest.mark.parametrize("name", recipes())
def test_what_is_written_is_read_back(name: str) -> None:
    recipe = recipes()[name]
    assert parse(write(recipe)) == recipe


def test_keys_tell_stages_of_a_name_apart() -> None:
    recipe = parse(WHOLE)
    assert parse(write(recipe)) == recipe
    keys = [key for key, _stage in recipe.keyed]
    assert keys == [
        "prepare",
        "continue_pretraining",
        "continue_pretraining#2",
        "evaluate",
    ]
    assert recipe.settings("continue_pretraining")["steps"] == 3
    assert recipe.settings("continue_pretraining#2") == {}
    assert recipe.stages[1].share == 0.25
    assert [stage_of(key) for key in keys] == [stage.name for stage in recipe.stages]
    assert stage_keys(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('title = "Mine"', 'title = "Mine', 3, "Illegal character"),
        ('title = "Mine"', "title = 3", 3, "text in quotes"),
        ('title = "Mine"', "", None, "“title” is missing"),
        ('name = "mine"', 'name = "My own"', 2, "small letters"),
        ('section = "merging"', 'section = "else"', 9, "pipelines"),
        ('needs = ["text"]', 'needs = ["luck"]', 11, "luck"),
        ('needs = ["text"]', 'needs = "text"', 11, "list"),
        ('needs = ["text"]', 'magic = "text"', 11, "magic"),
        ("steps = 3", "steps = -3", 19, "at least 0"),
        ("steps = 3", 'steps = "x"', 19, "give a whole number, not “x”"),
        ("steps = 3", "stepps = 3", 19, "Perhaps steps is meant"),
        ("steps = 3", 'stage = "merge"', 19, "has no setting “stage”"),
        ("share = 0.25", "share = 0", 18, "above 0"),
        ('name = "prepare"', 'name = "prepair"', 14, "Stage 1"),
        ('[[stages]]\nname = "evaluate"', "", None, "last stage"),
        ("learning_rate = 1e-5", "learning_rate = inf", 20, "at most 0.1"),
        (
            '[[stages]]\nname = "evaluate"',
            '[[stages]]\nname = "tune_instructions"\n[[stages]]\nname = "evaluate"',
            None,
            "put merge between them",
        ),
        ("[recipe]", "[recipes]", 1, "recipes"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    old: str, new: str, line: int | None, words: str
) -> None:
    assert old in WHOLE
    with pytest.raises(RecipeInvalid) as refused:
        parse(WHOLE.replace(old, new, 1))
    assert refused.value.line == line
    assert words in refused.value.sentence
    assert line is None or refused.value.sentence.startswith(f"Line {line}: ")


def test_a_recipe_that_cannot_be_launched_needs_no_stages() -> None:
    head = WHOLE.partition("[[stages]]")[0]
    with pytest.raises(RecipeInvalid, match="no stage"):
        parse(head)
    recipe = parse(head + 'unsupported = "There is no such model."\n')
    assert not recipe.launchable and not recipe.stages


def test_the_folder_is_data_only() -> None:
    assert {path.suffix for path in folder().iterdir()} == {".toml"}
