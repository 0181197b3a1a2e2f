from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training import tiny
from training.run import run_job
from training.spec import (
    ContinuePretraining,
    Corpus,
    Data,
    Evaluate,
    Merge,
    Prepare,
    TuneInstructions,
)
from training.stages import evaluate, prepare

CHECK = Evaluate(sample_tokens=3)


def test_an_unchanged_model_has_unchanged_figures(tmp_path: Path) -> None:
    job = tiny.spec(tmp_path, (Prepare(), CHECK))
    first = tiny.context(job, job.stages[0], tmp_path / "run")
    figures = prepare.run(first)
    context = tiny.context(
        job, CHECK, tmp_path / "run", finished={"prepare": first.folder}
    )
    context.figures["prepare"] = figures
    context.runs.append({"index": 0, "stage": "prepare", "seconds": 2.0})
    after = evaluate.run(context)["after"]
    # The text of the curves is measured by `prepare` alone.
    on_curves = figures["before"].pop("validation_bits_per_byte")
    assert on_curves["target"] > 0 and after == figures["before"]
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["model"] == job.base
    bits = report["bits_per_byte"]
    assert bits["target"]["before"] == bits["target"]["after"] > 0
    assert bits["protected"]["after"] > 0
    assert report["tokenizer"]["before"]["vocabulary"] == 320
    (sample,) = report["samples"]
    assert set(sample) == {"prompt", "before", "after"}
    assert report["seconds"]["stages"]["prepare"] == 2.0
    assert report["seconds"]["total"] > 2.0
    assert [run["stage"] for run in report["seconds"]["runs"]] == [
        "prepare",
        "evaluate",
    ]


@pytest.mark.trap(23)
def test_the_model_before_tuning_is_measured_too(tmp_path: Path) -> None:
    job = tiny.spec(tmp_path, (Prepare(), CHECK))
    stages = tmp_path / "stages"
    (stages / "pretrained/model").mkdir(parents=True)
    (stages / "merged/model").mkdir(parents=True)
    context = tiny.context(job, CHECK, tmp_path / "run")
    assert evaluate.pretrained_folder(context) is None
    context.finished = {
        "prepare": stages / "prepare",
        "continue_pretraining": stages / "pretrained",
        "tune_instructions": stages / "tuned",
        "merge": stages / "merged",
    }
    found = evaluate.pretrained_folder(context)
    assert found == stages / "pretrained" / "model"


def test_a_whole_job_reports_what_it_learned(tmp_path: Path) -> None:
    learn = ContinuePretraining(
        steps=20, block_tokens=48, batch_blocks=2, learning_rate=1e-2, evaluations=1
    )
    job = tiny.spec(tmp_path, (Prepare(), learn, CHECK), protected=False)
    assert run_job(job, tmp_path / "run") == 0
    report = json.loads((tmp_path / "run/report.json").read_text())
    bits = report["bits_per_byte"]
    assert bits["target"]["after"] < bits["target"]["before"] - 0.5
    assert bits["protected"] == {"before": None, "after": None}
    assert report["bits_per_byte_by_language"] == {"kk": bits["target"]}
    assert report["model"].endswith("01-continue_pretraining/model")


@pytest.mark.slow
def test_a_job_without_plain_text_ends_in_a_report(tmp_path: Path) -> None:
    """Translations alone; the base is measured once, and again after learning."""
    pairs = [{"source": f"cat {n}", "target": f"мысық {n}"} for n in range(30)]
    tiny.write_rows(tmp_path / "pairs.jsonl", pairs)
    parallel = Corpus(str(tmp_path / "pairs.jsonl"), "parallel", ("en", "kk"))
    tune = TuneInstructions(
        steps=3, batch_examples=4, lora_rank=4, learning_rate=1e-2, evaluations=1
    )
    job = tiny.spec(tmp_path, (Prepare(), tune, Merge(), CHECK))
    job = replace(job, data=Data(parallel=(parallel,)))
    assert run_job(job, tmp_path / "run") == 0
    report = json.loads((tmp_path / "run/report.json").read_text())
    bits = report["bits_per_byte"]["target"]
    assert bits["before"] == bits["pretrained"] != bits["after"] > 0
    assert set(report["samples"][0]) == {"prompt", "before", "pretrained", "after"}
