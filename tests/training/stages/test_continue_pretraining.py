from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import tiny
from training import adapters, checkpoints, compute
from training.data.tokens import tokenise
from training.errors import Diverged, ReloadDiffers, SpecInvalid, Stopped
from training.events import read_events
from training.families import load_model, load_tokenizer
from training.generate import Generator
from training.pretraining.loop import Pretraining
from training.run import StageContext
from training.spec import ContinuePretraining, Evaluate, JobSpec, Prepare
from training.stages import continue_pretraining, prepare

SETTINGS = ContinuePretraining(
    steps=12,
    block_tokens=48,
    batch_blocks=2,
    evaluations=2,
    learning_rate=5e-3,
    precision="float32",
)
CHECK = (Prepare(), Evaluate(sample_tokens=2))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """A job whose text is already divided in the folder `prepared` beside the base."""
    folder = tmp_path_factory.mktemp("job")
    made = tiny.spec(folder, CHECK, count=60)
    context = tiny.context(made, made.stages[0], folder / "prepare")
    prepare.run(context)
    context.folder.rename(folder / "prepared")
    return made


def _context(
    job: JobSpec, run_dir: Path, settings: ContinuePretraining = SETTINGS
) -> StageContext:
    prepared = Path(job.base).parent / "prepared"
    return tiny.context(job, settings, run_dir, finished={"prepare": prepared})


def _weights(context: StageContext) -> dict[str, torch.Tensor]:
    return load_file(context.folder / "model" / "model.safetensors")


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def _stop_at(context: StageContext, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Ask for a stop once a number of steps are made; the run ends with Stopped."""
    made = []
    original = Pretraining.step

    def counted(self: Pretraining, *arguments: object) -> float:
        made.append(1)
        context.stop.requested = len(made) == step
        return original(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Pretraining, "step", counted)
        continue_pretraining.run(context)


@pytest.fixture(scope="module")
def straight(job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> StageContext:
    """A run that nothing disturbed."""
    context = _context(job, tmp_path_factory.mktemp("straight"))
    context.figures["figures"] = continue_pretraining.run(context)
    return context


def test_learns_and_saves(job: JobSpec, straight: StageContext) -> None:
    events, _ = read_events(straight.run_dir / "events.jsonl")
    evaluations = [event for event in events if event["kind"] == "evaluation"]
    assert [event["step"] for event in evaluations] == [0, 6, 12]
    assert all(event["total"] == 12 for event in evaluations)
    bits = [event["target_bits_per_byte"] for event in evaluations]
    assert bits[0] > bits[1] > bits[2]
    assert evaluations[-1]["samples"][0]["prompt"] == "қабар"
    progress = [event for event in events if event["kind"] == "progress"]
    assert progress[-1]["step"] == 12
    assert progress[-1]["metrics"]["bytes_per_second"] > 0
    figures = straight.figures["figures"]
    assert figures["steps"] == 12
    assert figures["reload_difference"] <= 1e-4
    assert load_model(straight.folder / "model").config.tie_word_embeddings


def test_stopped_and_resumed_is_uninterrupted(
    job: JobSpec,
    straight: StageContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = _context(job, tmp_path)
    _stop_at(context, monkeypatch, 7)
    events, _ = read_events(tmp_path / "events.jsonl")
    saved = [event for event in events if event["kind"] == "checkpoint"]
    assert saved[-1]["step"] == 7
    assert (tmp_path / saved[-1]["path"] / "manifest.json").is_file()
    again = _context(job, tmp_path)
    continue_pretraining.run(again)
    assert _equal(_weights(again), _weights(straight))


@pytest.mark.parametrize("dropped", ["optimizer", "position"])
def test_what_is_not_restored_shows(
    job: JobSpec,
    straight: StageContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dropped: str,
) -> None:
    """The comparison above can fail: without part of the state weights differ."""
    context = _context(job, tmp_path)
    _stop_at(context, monkeypatch, 7)
    if dropped == "optimizer":
        monkeypatch.setattr(torch.optim.Optimizer, "load_state_dict", lambda *_: None)
    else:
        original = checkpoints.load
        monkeypatch.setattr(checkpoints, "load", lambda *a: original(*a) and 6)
    again = _context(job, tmp_path)
    continue_pretraining.run(again)
    assert not _equal(_weights(again), _weights(straight))


def test_a_damaged_checkpoint_is_passed_over(
    job: JobSpec,
    straight: StageContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stop in (4, 5):
        context = _context(job, tmp_path)
        _stop_at(context, monkeypatch, stop)
    root = context.work / "checkpoints"
    assert checkpoints.newest(root).name == "step-00000009"
    newest = root / "step-00000009" / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x01\x02")
    assert checkpoints.newest(root).name == "step-00000004"
    (root / "step-00000011.part").mkdir()
    again = _context(job, tmp_path)
    continue_pretraining.run(again)
    assert _equal(_weights(again), _weights(straight))


def test_other_settings_do_not_go_on(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stop_at(_context(job, tmp_path), monkeypatch, 2)
    with pytest.raises(SpecInvalid, match="learning_rate"):
        continue_pretraining.run(
            _context(job, tmp_path, replace(SETTINGS, learning_rate=1e-3))
        )
    with pytest.raises(SpecInvalid, match="seed"):
        continue_pretraining.run(_context(replace(job, seed=2), tmp_path))


def test_measuring_speed_changes_nothing(
    job: JobSpec,
    straight: StageContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Throw-away steps leave weights, optimizer and randomness as they were."""
    context = _context(job, tmp_path, replace(SETTINGS, precision="auto"))
    plan_time = []
    original = compute.choose_precision

    def float32(*asked):
        plan_time.append(original(*asked))
        return "float32", plan_time[0][1]

    monkeypatch.setattr(compute, "knows_bfloat16", lambda device: True)
    monkeypatch.setattr(compute, "choose_precision", float32)
    continue_pretraining.run(context)
    assert set(plan_time[0][1]) == {"float32", "bfloat16"}
    assert _equal(_weights(context), _weights(straight))


@pytest.mark.slow
def test_steps_come_from_the_minutes_and_the_passes(
    job: JobSpec, tmp_path: Path
) -> None:
    timed = replace(SETTINGS, steps=0, minutes=0.05)
    figures = continue_pretraining.run(_context(job, tmp_path / "a", timed))
    assert figures["steps"] > 1
    short = replace(SETTINGS, steps=0, minutes=1.0, epochs=0.1)
    figures = continue_pretraining.run(_context(job, tmp_path / "b", short))
    assert 1 <= figures["steps"] <= 40


def test_a_loss_that_is_no_number_is_refused(job: JobSpec, tmp_path: Path) -> None:
    context = _context(job, tmp_path)
    broken = load_model(Path(job.base))
    with torch.no_grad():
        broken.get_input_embeddings().weight[5:] = torch.inf
    broken.save_pretrained(tmp_path / "broken")
    load_tokenizer(Path(job.base)).save_pretrained(tmp_path / "broken")
    context.model = tmp_path / "broken"
    with pytest.raises(Diverged, match="step 1 of 12"):
        continue_pretraining.run(context)


@pytest.mark.parametrize("tied", [True, False])
def test_lora_trains_additions_and_new_rows_only(
    job: JobSpec, tmp_path: Path, tied: bool
) -> None:
    """Old rows and the base's other weights stay bit for bit."""
    extended = tiny.base(tmp_path / "extended", tied=tied, extra_rows=64)
    tokenizer = load_tokenizer(extended)
    old = len(tokenizer)
    tokenizer.add_tokens(" ".join(tiny.documents(9)).split()[1:3])
    tokenizer.save_pretrained(extended)
    lora = replace(SETTINGS, method="lora", lora_rank=4, lora_alpha=8)
    context = _context(job, tmp_path / "run", lora)
    context.model = extended
    before = load_file(extended / "model.safetensors")
    figures = continue_pretraining.run(context)
    after = _weights(context)
    assert figures["merge_difference"] < 1e-4
    assert (context.folder / "adapter_pretraining/adapter_config.json").is_file()
    rows = ["model.embed_tokens.weight"] + ([] if tied else ["lm_head.weight"])
    for name in rows:
        assert torch.equal(before[name][:old], after[name][:old])
        assert not torch.equal(before[name][old : old + 2], after[name][old : old + 2])
    assert torch.equal(before["model.norm.weight"], after["model.norm.weight"])
    layer = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(before[layer], after[layer])
    assert load_model(context.folder / "model").config.tie_word_embeddings is tied


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "saved"),
    [
        ("dora", "adapter_model.safetensors"),
        ("pissa", "adapter_model.safetensors"),
        ("loftq", ""),
        ("bottleneck", "bottleneck.safetensors"),
    ],
)
def test_additions_are_merged_and_saved(
    job: JobSpec, tmp_path: Path, method: str, saved: str
) -> None:
    """P14 through the stage: merged, saved, read back; embeddings learn where asked."""
    settings = replace(
        SETTINGS,
        method=method,
        lora_rank=4,
        bottleneck_width=8,
        adapter_embeddings="none" if method == "loftq" else "all",
        steps=4,
    )
    context = _context(job, tmp_path, settings)
    figures = continue_pretraining.run(context)
    assert figures["merge_difference"] < 1e-4 and figures["reload_difference"] < 1e-4
    additions = context.folder / "adapter_pretraining"
    assert (additions / saved).is_file() if saved else not additions.exists()
    name = "model.embed_tokens.weight"
    before = load_file(Path(job.base) / "model.safetensors")[name]
    assert torch.equal(before, _weights(context)[name]) is (method == "loftq")
    assert load_model(context.folder / "model").config.tie_word_embeddings


def test_additions_lost_in_the_merge_are_refused(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken off and not added to the weights: without the comparison nobody would see."""
    monkeypatch.setattr(adapters, "merge", lambda model: model.unload())
    lora = replace(SETTINGS, method="lora", adapter_embeddings="none", steps=4)
    context = _context(job, tmp_path, replace(lora, lora_rank=4))
    with pytest.raises(ReloadDiffers, match="The merged model gives other logits"):
        continue_pretraining.run(context)
    assert not (context.folder / "model").exists()


def test_qlora_resumes_and_merges(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is evaluated on the way must not round the base once more."""
    pytest.importorskip("bitsandbytes")
    settings = replace(SETTINGS, method="qlora", lora_rank=4, adapter_embeddings="all")
    context = _context(job, tmp_path / "a", settings)
    figures = continue_pretraining.run(context)
    assert figures["merge_difference"] < 1e-4 and figures["reload_difference"] < 1e-4
    assert not (context.folder / "adapter_pretraining").exists()
    _stop_at(_context(job, tmp_path / "b", settings), monkeypatch, 7)
    again = _context(job, tmp_path / "b", settings)
    continue_pretraining.run(again)
    assert _equal(_weights(again), _weights(context))


def test_qlora_without_its_library_is_refused_before_training(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    context = _context(job, tmp_path, replace(SETTINGS, method="qlora"))
    with pytest.raises(SpecInvalid, match="continue_pretraining.method.*bitsandbytes"):
        continue_pretraining.run(context)


def test_the_lottery_leaves_all_but_its_winners_alone(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a stop in the training behind the trial changes nothing."""
    settings = replace(SETTINGS, trains="lottery_rows", lottery_rows=5, lottery_steps=4)
    context = _context(job, tmp_path / "a", settings)
    figures = continue_pretraining.run(context)
    assert figures["trained_parameters"] == 5 * 32
    winners = json.loads((context.work / "lottery.json").read_text())
    before = load_file(Path(job.base) / "model.safetensors")
    for name, after in _weights(context).items():
        if name != "model.embed_tokens.weight":
            assert torch.equal(before[name], after)
            continue
        moved = (before[name] != after).any(1).nonzero().flatten().tolist()
        assert set(moved) <= set(winners) and moved
    again = _context(job, tmp_path / "b", settings)
    _stop_at(again, monkeypatch, 4 + 3)
    again = _context(job, tmp_path / "b", settings)
    continue_pretraining.run(again)
    assert _equal(_weights(again), _weights(context))


EEVE = (
    ({"trains": "new_input_rows"}, {"new inputs"}),
    ({"trains": "new_output_rows"}, {"new outputs"}),
    ({"trains": "new_rows"}, {"new inputs", "new outputs"}),
    ({"trains": "output_rows"}, {"new outputs", "old outputs"}),
    (
        {"trains": "new_input_and_output_rows"},
        {"new inputs", "new outputs", "old outputs"},
    ),
    (
        {"method": "lora", "adapter_embeddings": "all"},
        {"new inputs", "old inputs", "new outputs", "old outputs", "body"},
    ),
    ({"method": "lora", "adapter_embeddings": "none"}, {"body"}),
)


@pytest.mark.slow
def test_the_seven_stages_of_eeve_are_repeated_stages(
    job: JobSpec, tmp_path: Path
) -> None:
    """Kim et al. 2024: each stage goes on from the model of the one before and moves
    exactly what the paper says."""
    model = tiny.base(tmp_path / "extended", tied=False, extra_rows=64)
    tokenizer = load_tokenizer(model)
    old = len(tokenizer)
    tokenizer.add_tokens(" ".join(tiny.documents(9)).split()[1:3])
    tokenizer.save_pretrained(model)
    for number, (values, expected) in enumerate(EEVE):
        settings = replace(SETTINGS, lora_rank=4, evaluations=1, **values)
        context = _context(job, tmp_path / f"{number}", settings)
        context.model = model
        before = load_file(model / "model.safetensors")
        continue_pretraining.run(context)
        after, moved = _weights(context), set()
        for name, values in before.items():
            place = {"model.embed_tokens.weight": "inputs", "lm_head.weight": "outputs"}
            if name not in place:
                moved |= set() if torch.equal(values, after[name]) else {"body"}
                continue
            for part, rows in (("old", slice(old)), ("new", slice(old, old + 2))):
                if not torch.equal(values[rows], after[name][rows]):
                    moved.add(f"{part} {place[name]}")
        assert moved == expected, number
        model = context.folder / "model"


def test_rows_carried_over_are_not_new(job: JobSpec, tmp_path: Path) -> None:
    """A replaced vocabulary says which rows it kept."""
    context = _context(job, tmp_path)
    tokenizer = load_tokenizer(Path(job.base))
    assert continue_pretraining.new_rows(context, tokenizer) == []
    ids = sorted(tokenizer.get_vocab().values())
    extended = tmp_path / "extended"
    extended.mkdir()
    kept = {str(number): number + 1 for number in ids[:-2]}
    (extended / "kept.json").write_text(json.dumps(kept))
    context.finished["extend_vocabulary"] = extended
    assert continue_pretraining.new_rows(context, tokenizer) == ids[-2:]


KILLED = """
import sys
from pathlib import Path
from training.spec import JobSpec
from training.run import run_job
import json
job = JobSpec.from_json(json.loads(Path(sys.argv[1]).read_text()))
sys.exit(run_job(job, Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_killed_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    """A real kill -9 somewhere after the first checkpoint; then the same weights."""
    # Long enough to be killed on any machine, and the first checkpoint comes early.
    often = replace(SETTINGS, steps=600, checkpoint_minutes=0.02)
    job = tiny.spec(tmp_path, (CHECK[0], often, CHECK[1]), count=60)
    (tmp_path / "spec.json").write_text(json.dumps(job.as_json()))

    def start(run: str) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-c", KILLED]
        arguments += [str(tmp_path / "spec.json"), str(tmp_path / run)]
        return subprocess.Popen(
            arguments, env={**os.environ, "PYTHONPATH": os.getcwd()}
        )

    assert start("straight").wait(timeout=300) == 0
    killed = start("killed")
    deadline = time.monotonic() + 120
    checkpoints_folder = tmp_path / "killed/work/01-continue_pretraining/checkpoints"
    while not list(checkpoints_folder.glob("step-*[0-9]")):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert start("killed").wait(timeout=300) == 0
    notes = (tmp_path / "killed/events.jsonl").read_text()
    assert "Going on from the checkpoint" in notes
    model = "stages/01-continue_pretraining/model/model.safetensors"
    one, other = (load_file(tmp_path / run / model) for run in ("straight", "killed"))
    assert _equal(one, other)


def test_new_rows_are_found_by_id(job: JobSpec, tmp_path: Path) -> None:
    """The ids of a base can have gaps: counting from its size would miss by the gap."""
    base = Path(job.base)
    plain = json.loads((base / "tokenizer.json").read_text())
    shutil.copytree(base, tmp_path / "base")
    vocabulary = plain["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.__getitem__)
    vocabulary[last] += 10
    (tmp_path / "base/tokenizer.json").write_text(json.dumps(plain))
    old = load_tokenizer(tmp_path / "base")
    vocabulary["new"] = vocabulary[last] + 1
    shutil.copytree(tmp_path / "base", tmp_path / "extended")
    (tmp_path / "extended/tokenizer.json").write_text(json.dumps(plain))
    extended = load_tokenizer(tmp_path / "extended")
    context = _context(replace(job, base=str(tmp_path / "base")), tmp_path / "run")
    assert continue_pretraining.new_rows(context, extended) == [vocabulary["new"]]
    assert len(old) < vocabulary["new"]
    model = tiny.model(vocabulary["new"] + 1)
    assert Generator(model, extended).known == vocabulary["new"] + 1


def test_ids_damaged_on_disk_are_made_again(job: JobSpec, tmp_path: Path) -> None:
    """A machine that goes down can leave an empty file behind."""
    texts = tiny.write_rows(tmp_path / "t.jsonl", [{"text": "қабар"}, {"text": "ұлда"}])
    tokenizer = load_tokenizer(Path(job.base))
    first = tokenise(tokenizer, texts, tmp_path / "ids", block_tokens=32)
    expected = first.ids.tolist()
    for name in ("ids.bin", "manifest.json"):
        (tmp_path / "ids" / name).write_bytes(b"")
        again = tokenise(tokenizer, texts, tmp_path / "ids", block_tokens=32)
        assert again.ids.tolist() == expected
