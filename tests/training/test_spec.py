from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from training.errors import SpecInvalid
from training.spec import (
    STAGES,
    ContinuePretraining,
    Corpus,
    Data,
    Device,
    JobSpec,
    Prepare,
    StageSettings,
    stage_from_json,
)

SPEC = JobSpec(
    job="j1",
    language="bo-Tibt",
    base="base",
    data=Data(target=(Corpus("rows.jsonl", "monolingual", ("bo",), "ab", "བོད"),)),
    stages=(Prepare(), ContinuePretraining(minutes=3.5, method="lora")),
    prompts=("བོད་",),
    device=Device(threads=2),
)


def test_json_and_back_is_equal() -> None:
    plain = json.loads(json.dumps(SPEC.as_json()))
    assert JobSpec.from_json(plain) == SPEC


@pytest.mark.parametrize("kind", STAGES.values())
def test_settings_describe_themselves(kind: type[StageSettings]) -> None:
    for field in dataclasses.fields(kind):
        assert field.metadata["label"] and field.metadata["help"], field.name
        if field.type in ("int", "float"):
            low, high = field.metadata["low"], field.metadata["high"]
            assert low <= field.default <= high
        elif field.metadata["choices"]:
            assert field.default in field.metadata["choices"]
        else:  # free text: nothing is said unless somebody writes
            assert field.default == ""
    assert stage_from_json({"stage": kind.stage}) == kind()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"learning_rate": 5.0}, "continue_pretraining.learning_rate"),
        ({"learning_rate": float("nan")}, "continue_pretraining.learning_rate"),
        ({"steps": -1}, "continue_pretraining.steps"),
        ({"steps": 1.5}, "continue_pretraining.steps"),
        ({"steps": True}, "continue_pretraining.steps"),
        ({"method": "prefix_tuning"}, "continue_pretraining.method"),
        ({"minutes": "5"}, "continue_pretraining.minutes"),
        ({"speed": 1}, "continue_pretraining.speed"),
    ],
)
def test_what_is_out_of_range_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        stage_from_json({"stage": "continue_pretraining", **change})
    assert refused.value.field == field


def test_a_whole_number_is_a_fraction_too() -> None:
    settings = stage_from_json({"stage": "continue_pretraining", "minutes": 5})
    assert settings == ContinuePretraining(minutes=5.0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"format": 9}, "format"),
        ({"speed": 1}, "speed"),
        ({"data": {"music": []}}, "data.music"),
        ({"stages": [{"stage": "dance"}]}, "stage"),
        ({"device": {"threads": -1}}, "device.threads"),
    ],
)
def test_a_wrong_job_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        JobSpec.from_json({**SPEC.as_json(), **change})
    assert refused.value.field == field


@pytest.mark.parametrize("name", ["job", "language", "base", "data", "stages"])
def test_a_missing_part_is_named(name: str) -> None:
    plain = SPEC.as_json()
    del plain[name]
    with pytest.raises(SpecInvalid, match=name):
        JobSpec.from_json(plain)
