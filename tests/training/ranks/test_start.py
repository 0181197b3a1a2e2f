"""Several processes through the engine's one door: one writes, all end together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training import tiny
from training import manifest
from training.errors import ProcessDied, SpecInvalid, Stopped, TrainingError
from training.events import read_events
from training.families import load_model
from training.ranks import start
from training.run import StageContext, check_inputs
from training.settings.several_processes import check, refusal
from training.spec import (
    AlignPreferences,
    ContinuePretraining,
    Device,
    JobSpec,
    Prepare,
    StageSettings,
    TuneInstructions,
    in_parts,
)

SETTINGS = ContinuePretraining(
    steps=4,
    block_tokens=32,
    batch_blocks=3,
    evaluations=2,
    learning_rate=5e-3,
    precision="float32",
)
LOCK = "lock"
STAGE = "01-continue_pretraining"


def job(folder: Path, settings: StageSettings, **device: object) -> JobSpec:
    made = tiny.spec(folder, (Prepare(), settings), count=40, prompts=("қабар",))
    return replace(made, device=Device(kind="cpu", threads=1, **device))


def engine(made: JobSpec, folder: Path, run: str) -> subprocess.Popen[bytes]:
    """The one door, as a process in a session of its own that is handed a lock."""
    spec = folder / f"{run}.json"
    spec.write_text(json.dumps(made.as_json()))
    with (folder / f"{run}.log").open("ab") as log, (folder / LOCK).open("ab") as lock:
        return subprocess.Popen(
            [sys.executable, "-m", "training", str(spec), str(folder / run)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )


def ranks_of(session: int) -> list[int]:
    """Pids of the living processes of stages in a session, the first process first."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes()
            fields = (place / "stat").read_text().rpartition(") ")[2].split()
            environment = (place / "environ").read_bytes()
        except OSError:
            continue
        if fields[3] == str(session) and fields[0] not in "ZX":
            if b"training.ranks" in command:
                rank = environment.partition(b"\0RANK=")[2].partition(b"\0")[0]
                found.append((int(rank or 0), int(place.name)))
    return [pid for _, pid in sorted(found)]


def holds(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    return any(place.resolve() == path for place in Path(f"/proc/{pid}/fd").iterdir())


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_job_of_two_processes_is_the_job_of_one(tmp_path: Path) -> None:
    """Through the door: events once, one checkpointed model, tied weights still tied."""
    two = job(tmp_path, SETTINGS, processes=2, sharing="sharded")
    assert engine(two, tmp_path, "two").wait(timeout=400) == 0
    one = replace(two, device=Device(kind="cpu", threads=1))
    assert engine(one, tmp_path, "one").wait(timeout=400) == 0
    kinds = {}
    for run in ("one", "two"):
        events, _ = read_events(tmp_path / run / "events.jsonl")
        kinds[run] = Counter(e["kind"] for e in events if e["kind"] != "progress")
        steps = [e["step"] for e in events if e["kind"] == "evaluation"]
        assert steps == [0, 2, 4]
        last = [e for e in events if e["kind"] == "evaluation"][-1]
        assert last["samples"] and last["index"] == 1
    assert kinds["two"] - kinds["one"] == {"note": 1}  # that two compute
    folders = {run: tmp_path / run / "stages" / STAGE for run in kinds}
    assert all(manifest.is_whole(folder) for folder in folders.values())
    weights = {
        run: load_file(folder / "model" / "model.safetensors")
        for run, folder in folders.items()
    }
    assert weights["one"].keys() == weights["two"].keys()
    for name, tensor in weights["one"].items():
        assert (tensor - weights["two"][name]).abs().max() < 2e-4, name
    model = load_model(folders["two"] / "model")
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.slow
def test_all_end_where_one_dies_and_with_the_engine(tmp_path: Path) -> None:
    often = replace(SETTINGS, steps=100_000, evaluations=1, checkpoint_minutes=0.02)
    made = job(tmp_path, often, processes=2)
    running = engine(made, tmp_path, "run")
    checkpoints = tmp_path / "run" / "work" / STAGE / "checkpoints"
    events = tmp_path / "run" / "events.jsonl"
    try:
        # 1. The second one is killed: the job fails with a sentence, and can go on.
        wait_for(lambda: list(checkpoints.glob("step-*[0-9]")), running)
        pids = ranks_of(running.pid)
        assert all(holds(pid, tmp_path / LOCK) for pid in pids) and len(pids) == 2
        os.kill(pids[1], signal.SIGKILL)
        assert running.wait(timeout=60) == 2
        assert ranks_of(running.pid) == []
        failure = read_events(events)[0][-1]
        assert failure["kind"] == "failed" and failure["retryable"]
        assert failure["code"] == "process_died"
        assert "Process 2 of 2" in failure["sentence"] and "SIGKILL" in str(failure)
        # 2. Begun again it goes on; asked to stop it saves a checkpoint first.
        running = engine(made, tmp_path, "run")
        wait_for(lambda: "Going on from the checkpoint" in events.read_text(), running)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 3
        assert ranks_of(running.pid) == []
        saved, stopped = read_events(events)[0][-2:]
        assert (saved["kind"], stopped["kind"]) == ("checkpoint", "stopped")
        # 3. When the engine is killed nothing is left.
        running = engine(made, tmp_path, "run")
        wait_for(lambda: len(ranks_of(running.pid)) == 2, running)
        session = running.pid
        running.send_signal(signal.SIGKILL)
        running.wait()
        deadline = time.monotonic() + 30
        while ranks_of(session) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ranks_of(session) == []
    finally:
        running.kill()


def context(folder: Path, settings: StageSettings, **device: object):
    made = job(folder, settings, **device)
    return tiny.context(made, settings, folder / "run")


@pytest.mark.parametrize(
    ("settings", "sharing", "field"),
    [
        ({"trains": "lottery_rows"}, "replicated", "trains"),
        ({"trains": "half"}, "sharded", "trains"),
        ({"method": "dora"}, "sharded", "method"),
        ({"average_last": 2}, "sharded", "average_last"),
        ({"branches": 2}, "sharded", "branches"),
        ({"batch_blocks": 1}, "replicated", "processes"),
    ],
)
def test_what_several_cannot_do_is_refused_with_a_way_out(
    tmp_path: Path, settings: dict, sharing: str, field: str
) -> None:
    values = replace(SETTINGS, **settings)
    with pytest.raises(SpecInvalid, match=f"{field}.*(set device|choose)"):
        start.decide(context(tmp_path, values, processes=2, sharing=sharing))
    assert start.decide(context(tmp_path, values, processes=1)) == (1, False)
    # Before the first stage of the job begins, too.
    with pytest.raises(SpecInvalid, match=field):
        check_inputs(job(tmp_path, values, processes=2, sharing=sharing))
    check_inputs(job(tmp_path, values, processes=1, sharing=sharing))


@pytest.mark.parametrize(
    ("settings", "processes", "possible"),
    [
        (TuneInstructions(batch_examples=5), 2, True),
        (TuneInstructions(batch_examples=2), 3, False),
        (AlignPreferences(batch_pairs=6), 3, True),
        (AlignPreferences(batch_pairs=6), 4, False),
    ],
)
def test_a_tuning_holds_the_whole_model_and_says_so(
    tmp_path: Path, settings: StageSettings, processes: int, possible: bool
) -> None:
    """`sharded` is for the pretraining of the same job: it is no reason to refuse."""
    made = context(tmp_path, settings, processes=processes, sharing="sharded")
    if not possible:
        for refused in (start.decide, lambda made: check(made.spec)):
            with pytest.raises(SpecInvalid, match="processes.*choose at most"):
                refused(made)
        return
    check(made.spec)
    assert start.decide(made) == (processes, False)
    events = tmp_path / "run" / "events.jsonl"
    (said,) = [e["sentence"] for e in read_events(events)[0]]
    assert "every process holds the whole model" in said
    made = context(tmp_path / "b", settings, processes=processes)
    assert start.decide(made) == (processes, False)
    assert not (tmp_path / "b" / "run" / "events.jsonl").exists()


def test_a_cpu_has_one_process_where_nothing_is_said(tmp_path: Path) -> None:
    assert start.decide(context(tmp_path, SETTINGS)) == (1, False)
    made = context(tmp_path, SETTINGS, processes=3, sharing="sharded")
    assert start.decide(made) == (3, True)
    assert start.decide(context(tmp_path, SETTINGS, processes=3)) == (3, False)


def test_gpus_decide_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the job is shown; what they cannot do one does, with a note."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("training.compute.device_memory", lambda _: 2**40)

    def decided(kind: str = "auto", **values: object) -> tuple[int, bool]:
        settings = replace(SETTINGS, **values)
        made = context(tmp_path, settings)
        made.spec = replace(made.spec, device=Device(kind=kind))
        return start.decide(made)

    assert decided(batch_blocks=16) == (4, False)
    assert decided(batch_blocks=3) == (3, False)
    assert decided("cpu", batch_blocks=16) == (1, False)
    assert decided(trains="lottery_rows") == (1, False)
    assert "lottery" in (tmp_path / "run" / "events.jsonl").read_text()
    monkeypatch.setattr("training.compute.device_memory", lambda _: 2**16)
    assert decided(batch_blocks=16) == (4, True)
    assert decided(batch_blocks=16, average_last=2) == (4, False)
    for settings, size in (
        (TuneInstructions(batch_examples=16), 4),
        (TuneInstructions(batch_examples=3), 3),
        (AlignPreferences(batch_pairs=8), 4),
        (AlignPreferences(batch_pairs=6), 3),
        (AlignPreferences(batch_pairs=1), 1),
    ):
        made = context(tmp_path, settings)
        made.spec = replace(made.spec, device=Device(sharing="sharded"))
        assert start.decide(made) == (size, False)
    with pytest.raises(SpecInvalid, match="shown 4"):
        start.decide(
            replace_device(context(tmp_path, replace(SETTINGS, batch_blocks=16)), 5)
        )


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        replace(SETTINGS, method="lora"),
        replace(SETTINGS, trains="body"),
        replace(SETTINGS, average_last=2),
        TuneInstructions(batch_examples=16),
    ],
)
def test_the_launch_page_knows_who_holds_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: StageSettings
) -> None:
    """`in_parts`, from which the memory is predicted, is what the engine decides."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    made = context(tmp_path, settings)
    weights = [load_file(path) for path in Path(made.model).glob("*.safetensors")]
    numbers = sum(tensor.numel() for file in weights for tensor in file.values())
    for sharing in ("auto", "replicated", "sharded"):
        made.spec = replace(made.spec, device=Device(sharing=sharing))
        # Of twice the bytes of the weights, of what learning all takes, and of more.
        for memory in (4 * numbers, 20 * numbers, 40 * numbers):
            monkeypatch.setattr(
                "training.compute.device_memory", lambda _, found=memory: found
            )
            _, sharded = start.decide(made)
            alone = sharing == "sharded" and refusal(settings, "sharded") is not None
            expected = in_parts(settings, sharing, numbers, memory) and not alone
            assert sharded == expected


def replace_device(made: StageContext, processes: int) -> StageContext:
    made.spec = replace(made.spec, device=Device(processes=processes))
    return made


@pytest.mark.parametrize(
    ("words", "codes", "expected", "says"),
    [
        ([{"figures": {"a": 1}}, {"figures": {}}], [0, 0], None, ""),
        ([None, None], [1, -9], ProcessDied, "2 of 2.*SIGKILL"),
        ([{"unexpected": "odd"}, None], [1, -9], ProcessDied, "2 of 2.*SIGKILL"),
        ([{"unexpected": "odd"}, None], [1, None], RuntimeError, "odd"),
        ([None, None], [None, 1], ProcessDied, "2 of 2.*code 1"),
        ([{"stopped": True}] * 2, [3, 3], Stopped, ""),
        (
            [
                None,
                {"code": "diverged", "sentence": "no", "hint": "", "retryable": False},
            ],
            [None, 2],
            TrainingError,
            "no",
        ),
    ],
)
def test_how_they_ended_is_said_once(
    tmp_path: Path, words: list, codes: list, expected: type | None, says: str
) -> None:
    for rank, word in enumerate(words):
        if word:
            manifest.write_json(tmp_path / f"outcome-{rank}.json", word)
    if expected is None:
        assert start.outcome(tmp_path, codes) == {"a": 1}
        return
    with pytest.raises(expected, match=f"(?s){says}"):
        start.outcome(tmp_path, codes)
