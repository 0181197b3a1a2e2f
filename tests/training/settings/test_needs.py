"""What a choice needs is said and refused before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.errors import EXIT_FAILED, MaterialMissing
from training.events import read_events
from training.run import run_job
from training.settings.needs import NAMES, refuse_absent
from training.spec import (
    STAGES,
    Corpus,
    Data,
    ExtendVocabulary,
    JobSpec,
    Prepare,
    Resources,
)

PARALLEL = (Corpus("p.jsonl", "parallel", ("en", "kk")),)


def job(method: str, data: Data, resources: Resources | None = None) -> JobSpec:
    settings = ExtendVocabulary(initialisation=method)
    resources = resources or Resources()
    return JobSpec("j", "kk", "base", data, (settings,), resources=resources)


def test_every_place_that_a_choice_needs_has_a_name() -> None:
    for stage in STAGES.values():
        for field in stage.__dataclass_fields__.values():
            for choice, needs in field.metadata.get("needs", {}).items():
                assert choice in field.metadata["choices"]
                assert {place for group in needs for place in group} <= set(NAMES)


@pytest.mark.parametrize(
    ("method", "missing"),
    [
        ("trans_tokenization", "parallel text"),
        ("dictionary", "a dictionary .* or parallel text"),
        ("wechsel", "text in the base's language .* and a dictionary"),
        ("omp", "a donor model"),
    ],
)
def test_what_is_absent_is_named(method: str, missing: str) -> None:
    data = Data(target=(Corpus("t.jsonl", "monolingual", ("kk",)),))
    with pytest.raises(MaterialMissing, match=missing) as refused:
        refuse_absent(job(method, data))
    assert refused.value.hint.startswith("Add ") and method in refused.value.sentence


def test_one_of_a_group_is_enough() -> None:
    data = Data(parallel=PARALLEL)
    refuse_absent(job("trans_tokenization", data))
    refuse_absent(job("dictionary", data))
    vectors = Resources(target_vectors="t.vec", base_vectors="b.vec")
    refuse_absent(job("ofa", Data(), vectors))
    refuse_absent(job("wechsel", data, vectors))
    with pytest.raises(MaterialMissing, match="dictionary"):
        refuse_absent(job("wechsel", Data(), vectors))


def test_a_kept_tokenizer_needs_nothing() -> None:
    spec = job("omp", Data())
    kept = replace(spec.stages[0], method="keep")
    refuse_absent(replace(spec, stages=(kept,)))


def test_a_job_is_refused_before_its_first_stage(tmp_path: Path) -> None:
    spec = job("omp", Data())
    spec = replace(spec, stages=(Prepare(), *spec.stages))
    assert run_job(spec, tmp_path / "run") == EXIT_FAILED
    events, _ = read_events(tmp_path / "run/events.jsonl")
    assert not any(event["kind"] == "stage_started" for event in events)
    assert events[-1]["kind"] == "failed"
    assert events[-1]["code"] == "material_missing"
    assert not list((tmp_path / "run").glob("stages/*"))
