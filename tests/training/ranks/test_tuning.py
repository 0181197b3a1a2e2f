"""Two processes tune as one does: gloo on the CPU, models of two layers."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.training import tiny
from tests.training.ranks import test_start
from tests.training.ranks.together_tuning import (
    DROPOUT,
    STOP_AFTER,
    TUNE,
    VARIANTS,
    WRONG,
    compute,
    context_of,
)
from tests.training.ranks.two import run_both
from tests.training.stages import test_align_preferences
from training import manifest
from training.errors import EXIT_STOPPED, EXIT_SUCCEEDED, Stopped
from training.events import read_events
from training.ranks import ALONE
from training.run import StageContext, run_job
from training.spec import Corpus, StageSettings

pytestmark = pytest.mark.slow

# As in test_ranks.py: rounding of sums in another order, through AdamW at a rate of 1e-2.
SAME = 2e-4


def adapter(context_folder: Path, stage: str = "tune_instructions") -> dict:
    folder = context_folder / "stages" / f"{stage}.part" / "adapter"
    return load_file(folder / "adapter_model.safetensors")


def difference(one: dict, other: dict) -> float:
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


class Together:
    """What two processes left behind, and runs of one process to compare."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, tuple[dict, dict]] = {}

    def said(self, name: str) -> list[dict]:
        return [
            json.loads((self.folder / name / f"{rank}.json").read_text())
            for rank in range(2)
        ]

    def weights(self, name: str, stage: str = "tune_instructions") -> dict:
        return adapter(self.folder / name, stage)

    def events(self, name: str, kind: str) -> list[dict]:
        events, _ = read_events(self.folder / name / "events.jsonl")
        return [event for event in events if event["kind"] == kind]

    def alone(self, name: str, settings: StageSettings) -> tuple[dict, dict]:
        """(figures, weights) of one process."""
        if name not in self.known:
            context = context_of(self.folder, f"alone {name}", settings)
            figures = compute(context, ALONE)
            self.known[name] = figures, adapter(context.run_dir, settings.stage)
        return self.known[name]


def begin_alone(context: StageContext) -> None:
    """One process, stopped after STOP_AFTER steps."""
    write = context.events.write

    def write_and_stop(kind: str, **fields) -> None:
        write(kind, **fields)
        if kind == "progress" and fields["step"] == STOP_AFTER - 1:
            context.stop.requested = True

    context.events.write = write_and_stop
    with pytest.raises(Stopped):
        compute(context, ALONE)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Together:
    folder = tmp_path_factory.mktemp("together")
    context = test_align_preferences.job(folder)  # a base that answers, pairs, texts
    spec = replace(context.spec, prompts=())
    (folder / "spec.json").write_text(json.dumps(spec.as_json()))
    begin_alone(context_of(folder, "ended", TUNE))
    run_both("tests.training.ranks.together_tuning", folder)
    return Together(folder)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "timed"])
def test_two_processes_take_the_steps_of_one(together: Together, name: str) -> None:
    settings = VARIANTS[name]
    figures, weights = together.alone(name, settings)
    assert difference(weights, together.weights(name, settings.stage)) < SAME
    first, second = together.said(name)
    assert second == {} and first.keys() == figures.keys()
    assert first["mean_loss"] == pytest.approx(figures["mean_loss"], abs=2e-4)
    assert first["steps"] == figures["steps"]
    losses = [
        [event["metrics"]["loss"] for event in together.events(run, "progress")]
        for run in (f"alone {name}", name)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=5e-4)
    points = [together.events(run, "evaluation") for run in (f"alone {name}", name)]
    assert [p["step"] for p in points[0]] == [p["step"] for p in points[1]]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_sum_shows(together: Together, name: str) -> None:
    """The comparison above can fail."""
    _, weights = together.alone("lora", TUNE)
    assert difference(weights, together.weights(name)) > 5 * SAME


def test_the_minutes_end_for_both_together(together: Together) -> None:
    """One plan: as many steps, evaluations and events as it says."""
    first, _ = together.said("timed")
    plan = json.loads(
        (together.folder / "timed/work/tune_instructions/plan.json").read_text()
    )
    assert first["steps"] == plan["steps"] >= 1
    assert together.events("timed", "progress")[-1]["step"] == plan["steps"]


def test_a_stop_of_one_stops_both_and_resumed_is_uninterrupted(
    together: Together,
) -> None:
    """Bit for bit, what dropout draws in each process too; and it does draw."""
    (saved,) = together.events("again", "checkpoint")
    assert saved["step"] == STOP_AFTER
    assert manifest.is_whole(together.folder / "again" / saved["path"])
    steps = [event["step"] for event in together.events("again", "progress")]
    assert steps == [1, 2, 3, 4]
    straight, again = together.weights("straight"), together.weights("again")
    assert difference(straight, again) == 0
    _, without = together.alone("lora", TUNE)
    assert DROPOUT.lora_dropout and difference(straight, without) > 5 * SAME


def test_a_stop_of_who_makes_the_material_stops_who_waits(together: Together) -> None:
    assert together.said("early") == [{"stopped": True}] * 2


def test_begun_by_two_and_ended_by_one(together: Together) -> None:
    assert together.said("begun") == [{"stopped": True}] * 2
    run = together.folder / "begun"
    shutil.rmtree(run / "stages")
    compute(context_of(together.folder, "begun", TUNE), ALONE)
    _, weights = together.alone("lora", TUNE)
    assert difference(weights, adapter(run)) < SAME
    steps = [event["step"] for event in together.events("begun", "progress")]
    assert steps == [1, 2, 3, 4]


def test_begun_by_one_and_ended_by_two(together: Together) -> None:
    _, weights = together.alone("lora", TUNE)
    assert difference(weights, together.weights("ended")) < SAME
    steps = [event["step"] for event in together.events("ended", "progress")]
    assert steps == [1, 2, 3, 4]


def test_a_full_memory_makes_the_passes_of_both_smaller(together: Together) -> None:
    _, weights = together.alone("lora", TUNE)
    assert difference(weights, together.weights("full memory")) < SAME
    notes = [
        event["sentence"]
        for event in together.events("full memory", "note")
        if "memory was full" in event["sentence"]
    ]
    assert len(notes) == 1


def test_a_signal_to_the_engine_stops_both_and_one_goes_on(tmp_path: Path) -> None:
    """Through the door: one writes, and nothing is learned twice."""
    told = tiny.write_rows(
        tmp_path / "told.jsonl",
        [{"instruction": f"q {n}", "output": f"a {n}"} for n in range(24)],
    )
    tuning = replace(TUNE, steps=150, evaluations=1, method="olora")
    made = test_start.job(tmp_path, tuning, processes=2, sharing="sharded")
    instructions = (Corpus(path=str(told), kind="instructions", languages=("kk",)),)
    made = replace(
        made,
        data=replace(made.data, instructions=instructions),
        prompts=(),
    )
    written = tmp_path / "run" / "events.jsonl"
    running = test_start.engine(made, tmp_path, "run")
    try:
        test_start.wait_for(
            lambda: written.is_file() and '"progress"' in written.read_text(), running
        )
        assert len(test_start.ranks_of(running.pid)) == 2
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == EXIT_STOPPED
        assert test_start.ranks_of(running.pid) == []
    finally:
        running.kill()
    alone = replace(made, device=replace(made.device, processes=1))
    assert run_job(alone, tmp_path / "run") == EXIT_SUCCEEDED
    events, _ = read_events(written)
    kinds = Counter(event["kind"] for event in events)
    assert kinds["stopped"] == kinds["succeeded"] == kinds["checkpoint"] == 1
    steps = [event["step"] for event in events if event["kind"] == "progress"]
    assert steps == list(range(1, 151))
    folder = tmp_path / "run" / "stages" / "01-tune_instructions"
    assert manifest.is_whole(folder)
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    PeftModel.from_pretrained(base, str(folder / "adapter"))


def test_rows_that_do_not_come_out_even_are_filled_up() -> None:
    from training.ranks import Ranks
    from training.tuning.sft_example import Example
    from training.tuning.together import filled, share

    assert filled([4, 2, 0, 1, 3, 5], 3, 2, 9) == [4, 2, 0, 9, 1, 3, 5, 9]
    assert filled([4, 2, 0, 1], 2, 2, 9) == [4, 2, 0, 1]
    rows = [Example([n], [n], 1) for n in range(3)]
    shares = [share(rows, Ranks(rank, 2), 7) for rank in range(2)]
    assert [len(part) for part in shares] == [2, 2]
    learned = [label for part in shares for row in part for label in row.labels]
    assert sorted(learned) == [-100, 0, 1, 2]
    assert torch.tensor(shares[1][1].input_ids).tolist() == [7]
