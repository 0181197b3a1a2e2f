from __future__ import annotations

import dataclasses
from typing import Any

from training.spec import STAGES
from webapp.core.setting_fields import setting_field


def field(stage: str, name: str) -> Any:
    found = {f.name: f for f in dataclasses.fields(STAGES[stage])}
    return setting_field(found[name])


def test_choices_say_what_they_do_and_need() -> None:
    made = field("extend_vocabulary", "initialisation")
    explained = {choice["name"]: choice for choice in made.explained}
    values = [value for value, _said in made.choices]
    assert values == ["", *explained]  # what is sent is the name alone
    said = dict(made.choices)
    assert said["mean"] == f"mean: {explained['mean']['label']}"
    assert explained["mean"]["needs"] == []  # control
    assert "a donor model" in explained["omp"]["needs"][0]
    assert len(explained["wechsel"]["needs"]) == 3


def test_choices_without_words_are_shown_by_their_names() -> None:
    made = field("extend_vocabulary", "method")
    assert made.explained == []
    assert ("prune", "prune") in made.choices
