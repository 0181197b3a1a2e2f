from __future__ import annotations

from pathlib import Path

import pytest

from training.spec import stage_from_json
from webapp.recipes.catalogue import folder, read, recipes
from webapp.recipes.reading import RecipeInvalid


@pytest.mark.parametrize("path", sorted(folder().glob("*.toml")), ids=lambda p: p.stem)
def test_each_recipe_loads_and_says_what_it_must(path: Path) -> None:
    recipe = read(path)
    for words in (
        recipe.title,
        recipe.summary,
        recipe.when,
        recipe.cost,
        recipe.source,
    ):
        assert words.strip()
    assert recipe.checked
    names = [stage.name for stage in recipe.stages]
    ends = names[:1] + names[-1:]
    assert recipe.unsupported or ends == ["prepare", "evaluate"]


def test_the_default_comes_first() -> None:
    assert next(iter(recipes())) == "default"


def test_a_recipe_with_an_impossible_setting_is_refused(tmp_path: Path) -> None:
    text = (folder() / "lora.toml").read_text(encoding="utf-8")
    broken = tmp_path / "lora.toml"
    broken.write_text(text.replace("lora_rank = 64", "lora_rank = 0"))
    with pytest.raises(RecipeInvalid, match="lora_rank"):
        read(broken)
    broken.write_text(text)
    assert read(broken).name == "lora"


def test_a_recipe_is_named_as_its_file(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text((folder() / "lora.toml").read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match="lora"):
        read(other)


def test_no_recipe_says_what_has_no_effect() -> None:
    idle = [
        f"{recipe.name}: {stage.name}.{field.name}: {why}"
        for recipe in recipes().values()
        for stage in recipe.stages
        for field, why in stage_from_json(
            {"stage": stage.name, **stage.settings}
        ).idle()
    ]
    assert not idle, "\n".join(idle)
