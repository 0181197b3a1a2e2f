from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import tiny
from training.embeddings.comparison import untied_copy
from training.embeddings.distillation import Distillation
from training.errors import SpecInvalid, Stopped, TooLittleText
from training.evaluation.evaluator import Evaluator
from training.events import read_events
from training.families import load_model, load_tokenizer
from training.run import StageContext
from training.spec import (
    Data,
    Device,
    DistilEmbeddings,
    Evaluate,
    ExtendVocabulary,
    JobSpec,
    Prepare,
)
from training.stages import distil_embeddings, extend_vocabulary, prepare

SETTINGS = DistilEmbeddings(
    steps=8,
    snippets=6,
    snippet_tokens=16,
    batch_snippets=4,
    evaluations=2,
    learning_rate=1e-2,
    layer_share=0.5,
)
EXTEND = ExtendVocabulary(
    new_tokens=40, minimum_occurrences=4, initialisation="mean", round_rows_to=64
)


def _job(
    folder: Path,
    *,
    tied: bool,
    extra_rows: int = 0,
    extend: ExtendVocabulary = EXTEND,
) -> JobSpec:
    """A job whose vocabulary is extended already, in folders beside the base."""
    base = tiny.base(folder / "base", tied=tied, extra_rows=extra_rows)
    stages = (Prepare(chunk_characters=100), extend, Evaluate(sample_tokens=2))
    job = tiny.spec(folder, stages, base_folder=base, count=60)
    finished: dict[str, Path] = {}
    for stage, settings in ((prepare, stages[0]), (extend_vocabulary, extend)):
        context = tiny.context(job, settings, folder / "before", finished=finished)
        stage.run(context)
        finished[settings.stage] = context.folder.rename(folder / settings.stage)
    return job


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    return _job(tmp_path_factory.mktemp("untied"), tied=False, extra_rows=7)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    return _job(tmp_path_factory.mktemp("tied"), tied=True)


def _context(
    job: JobSpec, run_dir: Path, settings: DistilEmbeddings = SETTINGS
) -> StageContext:
    folder = Path(job.base).parent
    finished = {name: folder / name for name in ("prepare", "extend_vocabulary")}
    return tiny.context(
        job,
        settings,
        run_dir,
        model_folder=finished["extend_vocabulary"] / "model",
        finished=finished,
    )


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def _new_ids(context: StageContext) -> list[int]:
    path = context.finished["extend_vocabulary"] / "vocabulary.json"
    return [token["id"] for token in json.loads(path.read_text())]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["distil", "next_token"])
@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_old_rows_keep_every_bit_and_the_new_ones_learn(
    kind: str, objective: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    job = request.getfixturevalue(kind)
    context = _context(job, tmp_path, replace(SETTINGS, objective=objective))
    figures = distil_embeddings.run(context)
    before = _weights(context.finished["extend_vocabulary"])
    after = _weights(context.folder)
    new = _new_ids(context)
    assert figures["tokens"] == len(new) and figures["snippets"] > 20
    assert before.keys() == after.keys()
    rows = {"model.embed_tokens.weight"} | {"lm_head.weight"} & before.keys()
    assert len(rows) == (1 if kind == "tied" else 2)
    for name, weight in before.items():
        if name in rows:
            kept = torch.ones(len(weight), dtype=torch.bool)
            kept[new] = False
            assert torch.equal(weight[kept], after[name][kept])
            assert not torch.equal(weight[new], after[name][new])
        else:
            assert torch.equal(weight, after[name])
    model = load_model(context.folder / "model")
    assert model.config.tie_word_embeddings is (kind == "tied")
    counts = json.loads((context.folder / "snippets.json").read_text())
    assert sorted(map(int, counts)) == sorted(new)
    events, _ = read_events(tmp_path / "events.jsonl")
    evaluations = [e for e in events if e["kind"] == "evaluation"]
    assert [e["step"] for e in evaluations] == [0, 4, 8]
    assert [e["total"] for e in evaluations] == [8, 8, 8]
    progress = [e for e in events if e["kind"] == "progress"]
    assert progress[-1]["step"] == 8 and progress[-1]["seconds_left"] == 0


@pytest.mark.slow
def test_stopped_and_resumed_is_uninterrupted(
    untied: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = _context(untied, tmp_path / "straight")
    distil_embeddings.run(straight)
    stopped = _context(untied, tmp_path / "stopped")
    original = Distillation.step

    def counted(self: Distillation, number: int, rate: float) -> object:
        stopped.stop.requested = number == 4
        return original(self, number, rate)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Distillation, "step", counted)
        distil_embeddings.run(stopped)
    events, _ = read_events(stopped.run_dir / "events.jsonl")
    assert [e["step"] for e in events if e["kind"] == "checkpoint"] == [5]
    stopped.stop.requested = False
    distil_embeddings.run(stopped)
    one, other = _weights(straight.folder), _weights(stopped.folder)
    assert all(torch.equal(one[name], other[name]) for name in one)
    # The order of the snippets follows from the seed: another one ends elsewhere.
    seeded = _context(replace(untied, seed=2), tmp_path / "seeded")
    distil_embeddings.run(seeded)
    other = _weights(seeded.folder)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_changed_setting_is_another_run(untied: JobSpec, tmp_path: Path) -> None:
    context = _context(untied, tmp_path)
    context.stop.requested = True
    with pytest.raises(Stopped):
        distil_embeddings.run(context)
    context.stop.requested = False
    context.settings = replace(SETTINGS, snippets=7)
    with pytest.raises(SpecInvalid, match="snippets"):
        distil_embeddings.run(context)


def test_steps_follow_from_the_passes(untied: JobSpec, tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=0, epochs=0.3, evaluations=1)
    context = _context(untied, tmp_path, settings)
    figures = distil_embeddings.run(context)
    assert figures["steps"] == -(-figures["snippets"] * 0.3 // 4)
    # The measurement of speed changed nothing: the same number of steps as set.
    again = _context(
        untied, tmp_path / "set", replace(settings, steps=figures["steps"])
    )
    distil_embeddings.run(again)
    one, other = _weights(context.folder), _weights(again.folder)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_new_tokens_the_model_is_passed_on(tmp_path: Path) -> None:
    job = tiny.spec(tmp_path, (Prepare(),), count=1)
    context = tiny.context(job, SETTINGS, tmp_path / "run")
    assert distil_embeddings.run(context)["tokens"] == 0
    one, other = (
        load_file(Path(job.base) / "model.safetensors"),
        _weights(context.folder),
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert "no new tokens" in (tmp_path / "run/events.jsonl").read_text()


@pytest.mark.parametrize(
    ("bits", "objective", "warned"),
    [(8.1, "distil", True), (7.9, "distil", False), (8.1, "next_token", False)],
)
def test_a_base_that_knows_nothing_is_said(
    untied: JobSpec, tmp_path: Path, bits: float, objective: str, warned: bool
) -> None:
    settings = replace(SETTINGS, objective=objective)
    context = _context(untied, tmp_path, settings)
    context.figures["prepare"] = {"before": {"bits_per_byte": {"target": bits}}}
    distil_embeddings.warn_of_ignorance(context, settings)
    assert (tmp_path / "events.jsonl").exists() is warned


def test_text_without_the_new_tokens_is_refused(
    untied: JobSpec, tmp_path: Path
) -> None:
    context = _context(untied, tmp_path)
    tiny.write_rows(
        tmp_path / "prepared/target-train.jsonl",
        [{"text": text} for text in tiny.documents(5, script="tibetan")],
    )
    context.finished["prepare"] = tmp_path / "prepared"
    with pytest.raises(TooLittleText):
        distil_embeddings.run(context)


@pytest.mark.parametrize("method", ["replace", "append"])
def test_any_extended_vocabulary_is_distilled(method: str, tmp_path: Path) -> None:
    """Old tokens under new ids are read as their old ids, and their rows stay."""
    extend = replace(EXTEND, method=method, vocabulary_size=360)
    job = _job(tmp_path, tied=False, extend=extend)
    context = _context(job, tmp_path / "run")
    pieces, new = distil_embeddings.new_tokens(context)
    before = _weights(context.finished["extend_vocabulary"])
    figures = distil_embeddings.run(context)
    after = _weights(context.folder)
    assert figures["tokens"] == len(new) > 10
    moved = [id_ for id_, old in pieces.items() if len(old) == 1 and old[0] != id_]
    assert bool(set(moved) - set(new)) is (method == "replace")
    for name, weight in before.items():
        kept = torch.ones(len(weight), dtype=torch.bool)
        if "embed_tokens" in name or "lm_head" in name:
            kept[new] = False
            assert not torch.equal(weight[new], after[name][new])
        assert torch.equal(weight[kept], after[name][kept])


@pytest.mark.slow
@pytest.mark.parametrize("head", ["tied", "untied"])
def test_bits_per_byte_fall_with_the_body_frozen(
    head: str, shared_data: Path, tmp_path: Path
) -> None:
    """Real weights, real Swahili: 80 steps of rows alone take a fifth of a bit and more.

    The control: the same learned rows, each at its neighbour's place, gain nothing.
    """
    base = shared_data / "base-models/stories260K"
    if head == "untied":
        base = untied_copy(base, tmp_path / "base")
    lines = (shared_data / "swahili/corpus.txt").read_text().splitlines()[:3_000]
    target = tiny.corpus(tmp_path / "target.jsonl", lines, language="sw")
    job = JobSpec(
        job="test",
        language="sw",
        base=str(base),
        data=Data(target=(target,)),
        stages=(Prepare(held_out_characters=2_000, validation_characters=6_000),),
        device=Device(kind="cpu", threads=1),
    )
    settings = replace(
        SETTINGS,
        steps=80,
        snippets=25,
        snippet_tokens=48,
        batch_snippets=16,
        layer_share=0.33,
        learning_rate=0.0,
    )
    finished: dict[str, Path] = {}
    model = base
    for stage, chosen in (
        (prepare, job.stages[0]),
        (extend_vocabulary, replace(EXTEND, new_tokens=400, minimum_occurrences=8)),
        (distil_embeddings, settings),
    ):
        context = tiny.context(
            job, chosen, tmp_path / "run", model_folder=model, finished=finished
        )
        stage.run(context)
        finished[chosen.stage] = context.folder
        if chosen.stage != "prepare":
            model = context.folder / "model"
    events, _ = read_events(tmp_path / "run/events.jsonl")
    bits = [e["target_bits_per_byte"] for e in events if e["kind"] == "evaluation"]
    assert bits[-1] < bits[0] - 0.2
    learned, new = load_model(model), _new_ids(context)
    with torch.no_grad():
        for weight in {
            learned.get_input_embeddings().weight,
            learned.get_output_embeddings().weight,
        }:
            weight[new] = weight[[*new[1:], new[0]]]
    evaluator = Evaluator(
        learned, load_tokenizer(model), job, finished["prepare"], "validation"
    )
    misplaced = evaluator.bits_per_byte()["target"]
    assert misplaced is not None and misplaced > bits[-1] + 0.2
