from __future__ import annotations

import dataclasses
from typing import Any

from training.spec import STAGES
from webapp.core.choice_words import WORDS
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


def test_every_choice_says_in_words_what_it_does() -> None:
    nameless = [
        f"{stage}.{setting.name}: {choice}"
        for stage, settings in STAGES.items()
        for setting in dataclasses.fields(settings)
        for choice, said in getattr(setting_field(setting), "choices", [])
        if setting.metadata["choices"] and choice and said == choice
    ]
    assert not nameless
    used = {
        word
        for settings in STAGES.values()
        for setting in dataclasses.fields(settings)
        for choice in setting.metadata["choices"]
        for word in (choice, f"{setting.name}.{choice}")
    }
    assert set(WORDS) <= used  # nothing is said of what is no longer there


def test_a_choice_is_sent_by_its_name_alone() -> None:
    made = field("extend_vocabulary", "method")
    assert made.explained == []
    said = dict(made.choices)
    assert (
        said["prune"].startswith("prune: ")
        and said["keep"] == "keep: keep the tokenizer"
    )
    assert dict(field("extend_vocabulary", "junk").choices)["keep"] != said["keep"]
