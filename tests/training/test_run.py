from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from training import errors, manifest, run, stages
from training.errors import Stopped, TooLittleText
from training.events import read_events
from training.run import StageContext, StopFlag, run_job
from training.spec import (
    ContinuePretraining,
    Corpus,
    Data,
    Evaluate,
    JobSpec,
    Merge,
    MergeModels,
    Prepare,
    Resources,
    TuneInstructions,
)

Stage = Callable[[StageContext], dict[str, Any]]


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> JobSpec:
    """Three stages that write a file each; no model is involved."""
    (tmp_path / "base").mkdir()

    def write(context: StageContext) -> dict[str, Any]:
        name = context.settings.stage
        calls.append(name)
        (context.folder / "model").mkdir()
        (context.folder / "model" / "text").write_text(name)
        return {"from": str(context.model), "after": list(context.finished)}

    monkeypatch.setattr(run, "stage_function", lambda name: write)
    return JobSpec(
        job="j",
        language="sw",
        base=str(tmp_path / "base"),
        data=Data(),
        stages=(Prepare(), Merge(), Evaluate()),
    )


def _events(folder: Path) -> list[dict[str, Any]]:
    return read_events(folder / "events.jsonl")[0]


def _in_stage(monkeypatch: pytest.MonkeyPatch, name: str, do: Stage) -> None:
    """Something else happens in one stage, until the patch is taken back."""
    original = run.stage_function
    monkeypatch.setattr(
        run, "stage_function", lambda asked: do if asked == name else original(asked)
    )


def test_stages_run_in_order_and_build_on_each_other(
    job: JobSpec, tmp_path: Path, calls: list[str]
) -> None:
    assert run_job(job, tmp_path / "run") == errors.EXIT_SUCCEEDED
    assert calls == ["prepare", "merge", "evaluate"]
    kinds = [event["kind"] for event in _events(tmp_path / "run")]
    assert kinds == [
        "job_started",
        *["stage_started", "stage_finished"] * 3,
        "succeeded",
    ]
    merge = manifest.read(tmp_path / "run/stages/01-merge")
    assert merge["figures"]["from"].endswith("00-prepare/model")
    assert merge["figures"]["after"] == ["prepare"]
    assert not list((tmp_path / "run/stages").glob("*.part"))


def test_finished_stages_are_not_repeated(
    job: JobSpec, tmp_path: Path, calls: list[str]
) -> None:
    run_job(job, tmp_path / "run")
    calls.clear()
    assert run_job(job, tmp_path / "run") == errors.EXIT_SUCCEEDED
    assert calls == []
    (tmp_path / "run/stages/01-merge/model/text").write_text("damaged")
    assert run_job(job, tmp_path / "run") == errors.EXIT_SUCCEEDED
    assert calls == ["merge"]


def test_a_stop_keeps_what_is_finished(
    job: JobSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls: list[str],
) -> None:
    def stop(context: StageContext) -> dict[str, Any]:
        raise Stopped

    with monkeypatch.context() as patch:
        _in_stage(patch, "merge", stop)
        assert run_job(job, tmp_path / "run") == errors.EXIT_STOPPED
    last = _events(tmp_path / "run")[-1]
    assert (last["kind"], last["stage"]) == ("stopped", "merge")
    assert run_job(job, tmp_path / "run") == errors.EXIT_SUCCEEDED
    assert calls == ["prepare", "merge", "evaluate"]


def test_a_stop_before_the_first_stage(job: JobSpec, tmp_path: Path) -> None:
    flag = StopFlag()
    flag.requested = True
    assert run_job(job, tmp_path / "run", flag) == errors.EXIT_STOPPED


def test_an_expected_failure_is_told(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(context: StageContext) -> dict[str, Any]:
        raise TooLittleText("There are 12 characters.")

    _in_stage(monkeypatch, "merge", refuse)
    assert run_job(job, tmp_path / "run") == errors.EXIT_FAILED
    last = _events(tmp_path / "run")[-1]
    assert last["sentence"] == "There are 12 characters."
    assert (last["code"], last["stage"]) == ("too_little_text", "merge")
    assert last["hint"] and last["retryable"] is False


@pytest.mark.parametrize(
    ("raised", "code", "exit_code"),
    [
        (RuntimeError("odd"), "unexpected", errors.EXIT_UNEXPECTED),
        (OSError(errno.ENOSPC, "full"), "disk_full", errors.EXIT_FAILED),
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            "disk_full",
            errors.EXIT_FAILED,
        ),
        (OSError(errno.EIO, "bad"), "unexpected", errors.EXIT_UNEXPECTED),
    ],
)
def test_other_failures_end_in_an_event(
    job: JobSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    code: str,
    exit_code: int,
) -> None:
    def fail(context: StageContext) -> dict[str, Any]:
        raise raised

    _in_stage(monkeypatch, "evaluate", fail)
    assert run_job(job, tmp_path / "run") == exit_code
    last = _events(tmp_path / "run")[-1]
    assert (last["kind"], last["code"]) == ("failed", code)
    assert last["retryable"] is (code == "disk_full")


def test_stages_that_cannot_follow_each_other_are_refused_before_anything(
    job: JobSpec, tmp_path: Path, calls: list[str]
) -> None:
    wrong = replace(job, stages=(Evaluate(),))
    assert run_job(wrong, tmp_path / "run") == errors.EXIT_FAILED
    (only,) = _events(tmp_path / "run")
    assert (only["code"], only["stage"]) == ("spec_invalid", "")
    assert "put prepare before it" in only["sentence"] and not calls


def test_inputs_are_checked_before_anything(
    job: JobSpec, tmp_path: Path, calls: list[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    corpus = Corpus(str(path), "monolingual", ("sw",), sha256="0" * 64, name="Hadithi")
    asked = dataclasses.replace(job, data=Data(target=(corpus,)))
    assert run_job(asked, tmp_path / "run") == errors.EXIT_FAILED
    assert "Hadithi is not there" in _events(tmp_path / "run")[-1]["sentence"]
    path.write_text("{}\n")
    assert run_job(asked, tmp_path / "run") == errors.EXIT_FAILED
    assert "Hadithi has changed" in _events(tmp_path / "run")[-1]["sentence"]
    right = dataclasses.replace(corpus, sha256=manifest.file_sha256(path))
    asked = dataclasses.replace(job, data=Data(target=(right,)))
    assert run_job(asked, tmp_path / "run") == errors.EXIT_SUCCEEDED


def test_every_stage_has_settings_and_a_module() -> None:
    from training.spec import STAGES

    assert set(STAGES) == set(stages.MODULES)


def test_the_command_refuses_a_bad_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.__main__ import main

    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"job": "j"}))
    assert main([str(path), str(tmp_path / "run")]) == errors.EXIT_FAILED
    assert "“language” is missing" in capsys.readouterr().err
    path.write_text("{")
    assert main([str(path), str(tmp_path / "run")]) == errors.EXIT_FAILED
    assert _events(tmp_path / "run")[-1]["code"] == "spec_invalid"


def test_a_failure_on_a_disk_without_space_is_a_full_disk(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch says "unexpected pos 576 vs 534" when a disk becomes full."""

    def fail(context: StageContext) -> dict[str, Any]:
        monkeypatch.setattr(run, "LEAST_FREE_BYTES", 10**18)
        raise RuntimeError("unexpected pos 576 vs 534")

    _in_stage(monkeypatch, "evaluate", fail)
    assert run_job(job, tmp_path / "run") == errors.EXIT_FAILED
    assert _events(tmp_path / "run")[-1]["code"] == "disk_full"


def test_checkpoints_of_a_finished_stage_are_removed(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(context: StageContext) -> dict[str, Any]:
        (context.work / "checkpoint").write_text("large")
        raise RuntimeError

    work = tmp_path / "run/work/02-evaluate"
    with monkeypatch.context() as patched:
        _in_stage(patched, "evaluate", fail)
        run_job(job, tmp_path / "run")
    assert (work / "checkpoint").is_file()
    assert run_job(job, tmp_path / "run") == 0
    assert not work.exists()


@pytest.mark.parametrize("role", [field.name for field in dataclasses.fields(Data)])
def test_files_of_every_role_are_checked(job: JobSpec, role: str) -> None:
    gone = Corpus("/gone.jsonl", "monolingual", ("kk", "en"), name="Gone")
    with pytest.raises(errors.InputMissing, match="Gone is not there"):
        run.check_inputs(dataclasses.replace(job, data=Data(**{role: (gone,)})))


@pytest.mark.parametrize("role", ["parallel", "dictionary"])
@pytest.mark.parametrize("languages", [(), ("kk",), ("kk", "en", "ru")])
def test_pairs_name_the_language_of_both_sides(
    job: JobSpec, tmp_path: Path, role: str, languages: tuple[str, ...]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("")
    pairs = Corpus(str(path), "parallel", languages, name="Pairs")
    with pytest.raises(
        errors.SpecInvalid, match=rf"Pairs \({role}\) must name two"
    ) as no:
        run.check_inputs(replace(job, data=Data(**{role: (pairs,)})))
    assert no.value.field == f"data.{role}"
    pairs = replace(pairs, languages=("kk", "en"))
    run.check_inputs(replace(job, data=Data(**{role: (pairs,)})))


def test_a_stage_may_come_twice(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    seen: list[dict[str, Any]] = []

    def look(context: StageContext) -> dict[str, Any]:
        context.events.write("progress", stage="evaluate", step=1, total=1)
        seen.append(
            {
                "model": context.model,
                "order": list(context.finished),
                "newest": context.finished["merge_models"].name,
                "seconds": context.seconds,
                "runs": [run["stage"] for run in context.runs],
            }
        )
        return {}

    _in_stage(monkeypatch, "evaluate", look)
    twice = replace(
        job, stages=(MergeModels(), Prepare(), MergeModels(weight=0.5), Evaluate())
    )
    run_dir = tmp_path / "run"
    assert run_job(twice, run_dir) == errors.EXIT_SUCCEEDED
    (there,) = seen
    # The model is that of the last stage, not of the last new name.
    assert there["model"] == run_dir / "stages/02-merge_models/model"
    assert there["order"] == ["prepare", "merge_models"]
    assert there["newest"] == "02-merge_models"
    assert there["runs"] == ["merge_models", "prepare", "merge_models"]
    each = [
        manifest.read(f)["seconds"]
        for f in sorted(run_dir.glob("stages/*merge_models"))
    ]
    assert there["seconds"]["merge_models"] == pytest.approx(sum(each), abs=0.01)
    (progress,) = [e for e in _events(run_dir) if e["kind"] == "progress"]
    assert progress["index"] == 3


def test_every_role_and_resource_is_looked_for(job: JobSpec, tmp_path: Path) -> None:
    gone = Corpus(
        path=str(tmp_path / "gone.jsonl"), kind="parallel", languages=("en", "sw")
    )
    for role in ("preferences", "related", "dictionary"):
        asked = replace(job, data=Data(**{role: (gone,)}))
        with pytest.raises(errors.InputMissing, match="gone"):
            run.check_inputs(asked)
    for given in ({"instruct": "no"}, {"models": ("no",)}, {"base_vectors": "no"}):
        with pytest.raises(errors.InputMissing, match="no"):
            run.check_inputs(replace(job, resources=Resources(**given)))
    run.check_inputs(job)


def _minutes_given(
    job: JobSpec, folder: Path, monkeypatch: pytest.MonkeyPatch, first: float = 0
) -> list[float]:
    """Run a job of two timed stages that end at once; the minutes that each was given.
    The first one was begun `first` minutes ago."""
    given: list[float] = []

    def learn(context: StageContext) -> dict[str, Any]:
        given.append(context.settings.minutes)
        if len(given) == 1:
            began = float((context.work / run.BEGAN).read_text()) - 60 * first
            (context.work / run.BEGAN).write_text(str(began))
        return {}

    for name in ("continue_pretraining", "tune_instructions"):
        _in_stage(monkeypatch, name, learn)
    assert run_job(job, folder) == errors.EXIT_SUCCEEDED
    return given


@pytest.mark.parametrize(
    ("steps", "ago", "second"), [(0, 0, 5), (0, 1, 4), (0, 9, 2), (7, 0, 2)]
)
def test_minutes_that_are_not_used_go_to_the_next_stage(
    job: JobSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    ago: float,
    second: float,
) -> None:
    """Time that passed since the first attempt is used time; a stage of so many steps
    was given no time; and what the manifest keeps is what the job asked for."""
    reading = ContinuePretraining(minutes=3, steps=steps)
    stages = (Prepare(), reading, TuneInstructions(minutes=2), Merge(), Evaluate())
    job = replace(job, stages=stages)
    given = _minutes_given(job, tmp_path / "run", monkeypatch, first=ago)
    assert given == pytest.approx([3, second], abs=0.1)
    kept = manifest.read(run.stage_folder(tmp_path / "run", 2, "tune_instructions"))
    assert kept and kept["settings"]["minutes"] == 2
    # A second run reads the finished stages and asks none of them again.
    assert run_job(job, tmp_path / "run") == errors.EXIT_SUCCEEDED


@pytest.mark.parametrize("changed", [{"seed": 2}, {"validation_share": 0.03}])
def test_a_finished_stage_is_not_passed_off_under_other_settings(
    job: JobSpec, tmp_path: Path, calls: list[str], changed: dict[str, Any]
) -> None:
    assert run_job(job, tmp_path / "run") == 0
    assert run_job(job, tmp_path / "run") == 0
    assert len(calls) == 3
    other = (
        replace(job, **changed)
        if "seed" in changed
        else replace(job, stages=(Prepare(**changed), *job.stages[1:]))
    )
    assert run_job(other, tmp_path / "run") == errors.EXIT_FAILED
    told = _events(tmp_path / "run")[-1]
    assert told["code"] == "spec_invalid" and "own" in told["sentence"]
    assert len(calls) == 3
    # What a former version did not know is no difference.
    path = tmp_path / "run" / "stages" / "00-prepare" / manifest.NAME
    record = json.loads(path.read_text())
    record["settings"] = {"gone": 1}
    path.write_text(json.dumps(record))
    assert run_job(job, tmp_path / "run") == 0
