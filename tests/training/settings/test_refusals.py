"""What is wrong with a setting is a sentence with its label, its place and what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from training.errors import SpecInvalid
from training.spec import STAGES, stage_from_json

RAW = ("<class", "must be of type", "is not a setting", "None", "not 'x'")


def wrong_values(field: dataclasses.Field[Any]) -> Iterator[Any]:
    """Values that a setting cannot have."""
    about = field.metadata
    yield ["a", "list"]
    if about["choices"]:
        yield from ("x" * 500, "", 3)
        return
    kind = type(field.default)
    if kind is not str:
        yield "x"
    if kind in (int, float):
        yield True
        if about["low"] is not None:
            yield kind(about["low"]) - 1
        if about["high"] is not None:
            yield kind(about["high"]) * 2 + 1
    if kind is float:
        yield from (float("nan"), float("inf"), float("-inf"))


CASES = [
    (stage, field.name, value)
    for stage, settings in STAGES.items()
    for field in dataclasses.fields(settings)
    for value in wrong_values(field)
]


@pytest.mark.parametrize("stage", STAGES)
def test_every_wrong_value_is_refused_in_a_sentence(stage: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(STAGES[stage])}
    for name, value in [case[1:] for case in CASES if case[0] == stage]:
        with pytest.raises(SpecInvalid) as refused:
            stage_from_json({"stage": stage, name: value})
        sentence, place = refused.value.sentence, f"{stage}.{name}"
        assert refused.value.field == place
        label = fields[name].metadata["label"]
        assert sentence.startswith(f"“{label}” ({place}): ")
        assert sentence.endswith(".") and len(sentence) < 600
        assert not [word for word in RAW if word in sentence], sentence


@pytest.mark.parametrize("stage", STAGES)
def test_a_misspelt_setting_is_told_from_one_that_is_not_there(stage: str) -> None:
    for field in dataclasses.fields(STAGES[stage]):
        with pytest.raises(SpecInvalid, match=f"Perhaps .*{field.name[:3]}.* is meant"):
            stage_from_json({"stage": stage, f"{field.name}s": 1})
    with pytest.raises(SpecInvalid) as refused:
        stage_from_json({"stage": stage, "zzzzzzzzzzzz": 1})
    assert "Perhaps" not in refused.value.sentence
