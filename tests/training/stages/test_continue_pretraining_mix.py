"""The mix inside the stage: resumed runs, arms of a comparison, real text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import tiny
from training.errors import SpecInvalid, Stopped
from training.families import load_model, load_tokenizer
from training.pretraining.loop import Pretraining
from training.run import StageContext
from training.spec import ContinuePretraining, Corpus, Evaluate, JobSpec, Prepare
from training.stages import continue_pretraining, prepare

# Whole stages with real models: not for the quick loop.
pytestmark = pytest.mark.slow

STEPS = 8
SETTINGS = ContinuePretraining(
    steps=STEPS,
    block_tokens=48,
    batch_blocks=2,
    evaluations=1,
    learning_rate=5e-3,
    precision="float32",
    replay_share=0.2,
    parallel_share=0.1,
    interlinear_share=0.1,
    instruction_share=0.1,
    entity_insertion=0.5,
    code_switching=0.1,
)
STAGED = replace(
    SETTINGS,
    curriculum="staged",
    mix_stages="0: text 0.8, protected 0.2; 0.5: interlinear 0.6, related 0.4",
)
BUCKETED = replace(SETTINGS, packing="bucketed", bucket_cycle=3)
ORDERED = replace(SETTINGS, curriculum="high_resource_first")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """A job of every kind of data, divided in the folder `prepared`."""
    folder = tmp_path_factory.mktemp("job")
    stages = (Prepare(), Evaluate(sample_tokens=2))
    made = tiny.spec(folder, stages, count=60)
    related = tiny.documents(90, script="tibetan")
    word = tiny.documents(1)[0].split()[1]
    pairs = [{"source": f"the cat {n}", "target": f"мысық {n}"} for n in range(60)]
    asked = [{"question": f"Кім {n}?", "answer": f"Мен {n}."} for n in range(60)]
    tiny.write_rows(folder / "pairs.jsonl", pairs)
    tiny.write_rows(folder / "asked.jsonl", asked)
    tiny.write_rows(folder / "words.jsonl", [{"source": "NAME", "target": word}])
    both = ("en", "kk")
    data = replace(
        made.data,
        related=(tiny.corpus(folder / "related.jsonl", related, language="bo"),),
        parallel=(Corpus(str(folder / "pairs.jsonl"), "parallel", both),),
        instructions=(Corpus(str(folder / "asked.jsonl"), "instructions", ("kk",)),),
        dictionary=(Corpus(str(folder / "words.jsonl"), "parallel", both),),
    )
    made = replace(made, data=data)
    context = tiny.context(made, made.stages[0], folder / "prepare")
    figures = prepare.run(context)
    assert set(figures["before"]["bits_per_byte_by_language"]) == {"kk", "en", "bo"}
    context.folder.rename(folder / "prepared")
    return made


def _context(
    job: JobSpec, run_dir: Path, settings: ContinuePretraining
) -> StageContext:
    prepared = Path(job.base).parent / "prepared"
    return tiny.context(job, settings, run_dir, finished={"prepare": prepared})


def _weights(context: StageContext) -> dict[str, torch.Tensor]:
    return load_file(context.folder / "model" / "model.safetensors")


@pytest.mark.parametrize(
    "settings", [STAGED, BUCKETED, ORDERED], ids=["staged", "bucketed", "ordered"]
)
def test_a_resumed_run_reads_what_it_would_have_read(
    job: JobSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: ContinuePretraining,
) -> None:
    straight = _context(job, tmp_path / "straight", settings)
    continue_pretraining.run(straight)
    context = _context(job, tmp_path / "stopped", settings)
    made = []
    original = Pretraining.step

    def counted(self: Pretraining, *arguments: object) -> float:
        made.append(1)
        context.stop.requested = len(made) == 5
        return original(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Pretraining, "step", counted)
        continue_pretraining.run(context)
    again = _context(job, tmp_path / "stopped", settings)
    continue_pretraining.run(again)
    one, other = _weights(straight), _weights(again)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_mix_does_not_go_on(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _context(job, tmp_path, SETTINGS)
    context.stop.requested = True
    with pytest.raises(Stopped):
        continue_pretraining.run(context)
    for changed in ({"parallel_share": 0.2}, {"packing": "bucketed"}):
        again = _context(job, tmp_path, replace(SETTINGS, **changed))
        with pytest.raises(SpecInvalid, match=next(iter(changed))):
            continue_pretraining.run(again)


def _first_texts(
    job: JobSpec, folder: Path, settings: ContinuePretraining
) -> Iterator[str]:
    """The text of the first 100 batches of an arm."""
    context = _context(job, folder, settings)
    tokenizer, model = load_tokenizer(context.model), load_model(context.model)
    packer = continue_pretraining.make_packer(context, settings, tokenizer, model)
    for batch in islice(packer.batches(0, 200), 100):
        yield tokenizer.decode(batch.ids[batch.documents >= 0])


@pytest.mark.parametrize("settings", [STAGED, BUCKETED], ids=["staged", "bucketed"])
def test_arms_of_one_seed_read_the_same(
    job: JobSpec, tmp_path: Path, settings: ContinuePretraining
) -> None:
    """The hash of the text of the first 100 batches."""

    def digest(name: str, of: JobSpec, settings: ContinuePretraining) -> str:
        texts = "\n".join(_first_texts(of, tmp_path / name, settings))
        return hashlib.sha256(texts.encode()).hexdigest()

    arms = {
        "full": settings,
        "lora": replace(settings, method="lora", lora_rank=2),
        "slow": replace(settings, learning_rate=1e-5, weight_decay=0.0),
    }
    found = {digest(name, job, arm) for name, arm in arms.items()}
    assert len(found) == 1
    assert digest("seed", replace(job, seed=2), settings) not in found
    other = replace(settings, sampling_exponent=1.0)
    assert digest("mix", job, other) not in found


def test_real_languages_have_their_shares(shared_data: Path, tmp_path: Path) -> None:
    """Swahili with Kazakh and Uyghur beside it, English replayed, Wikipedia pairs."""

    def corpus(language: str, path: str, characters: int) -> Corpus:
        with (shared_data / path).open(encoding="utf-8") as file:
            lines = file.read(characters).splitlines()
        texts = ["\n".join(lines[n : n + 8]) for n in range(0, len(lines), 8)]
        return tiny.corpus(tmp_path / f"{language}.jsonl", texts, language=language)

    pairs = (shared_data / "swahili/parallel-eng-swh.tsv").read_text("utf-8")
    rows = [
        dict(zip(("source", "target"), line.split("\t"), strict=True))
        for line in pairs.splitlines()[:200]
    ]
    tiny.write_rows(tmp_path / "pairs.jsonl", rows)
    made = tiny.spec(tmp_path, (Prepare(), Evaluate(sample_tokens=1)), prompts=())
    data = replace(
        made.data,
        target=(corpus("sw", "swahili/corpus.txt", 40_000),),
        protected=(corpus("en", "english/wiki.txt", 60_000),),
        related=(
            corpus("kk", "kazakh/corpus.txt", 90_000),
            corpus("ug", "uyghur/corpus.txt", 20_000),
        ),
        parallel=(Corpus(str(tmp_path / "pairs.jsonl"), "parallel", ("en", "sw")),),
    )
    made = replace(made, data=data, language="sw")
    folder = tmp_path / "prepare"
    figures = prepare.run(tiny.context(made, made.stages[0], folder))
    assert set(figures["before"]["bits_per_byte_by_language"]) == {
        *("sw", "en", "kk", "ug")
    }
    settings = ContinuePretraining(
        block_tokens=128, parallel_share=0.1, sampling_exponent=0.5
    )
    context = tiny.context(
        made,
        settings,
        tmp_path / "run",
        finished={"prepare": folder / "stages/prepare.part"},
    )
    packer = continue_pretraining.make_packer(
        context, settings, load_tokenizer(context.model), load_model(context.model)
    )
    given = [0.0] * len(packer.sources)
    for block in islice(packer.layouts(), 3_000):
        for source, passage, _, count in block:
            file = packer.sources[source]
            given[source] += file.sizes[passage] * count / file.length(passage)
    parts = [part / sum(given) for part in given]
    # target sw, protected en, related kk and ug, parallel
    assert parts == pytest.approx(packer.shares, abs=0.02)
    assert parts[1] == pytest.approx(0.25, abs=0.02)
    assert parts[4] == pytest.approx(0.1, abs=0.02)
    sizes = [source.total_bytes for source in packer.sources]
    for related in (2, 3):
        ratio = (sizes[related] / sizes[0]) ** 0.5
        assert parts[related] / parts[0] == pytest.approx(ratio, rel=0.1)
