"""Every family of bases goes through the whole pipeline, with tokenizers that were trained
on real text: byte-level (the bundled base's) and SentencePiece with byte fallback (a
published one); tied and untied; with rows that no token has, and without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import ROOT
from tests.training import tiny
from training.events import read_events
from training.families import FAMILIES
from training.run import run_job, stage_folder
from training.spec import (
    ContinuePretraining,
    Corpus,
    Data,
    Evaluate,
    ExtendVocabulary,
    JobSpec,
    Merge,
    Prepare,
    StageSettings,
    TuneInstructions,
)

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
TEXT = "Қазақ тілі — 12 бала. The sea, the tree."
STAGES: list[StageSettings] = [
    Prepare(chunk_characters=100),
    ExtendVocabulary(new_tokens=60, minimum_occurrences=4, round_rows_to=8),
    # Not "auto", which goes by the clock: a second run would not be the same.
    ContinuePretraining(
        method="full", steps=4, block_tokens=64, batch_blocks=2, precision="float32"
    ),
    TuneInstructions(steps=3, batch_examples=2, precision="float32"),
    Merge(),
    Evaluate(),
]
TIED_AND_PADDED = pytest.mark.parametrize(
    "tied", [True, False], ids=["tied padded", "untied exact"]
)


@pytest.fixture
def tokenizer_of(shared_data: Path) -> Callable[[str], Path]:
    """A folder with a tokenizer by its kind."""
    folders = {
        "byte-level": ROOT / "samples/base-en",
        "sentencepiece": shared_data / "base-models/stories260K",
    }
    return lambda kind: folders[kind]


def kind_for(family: str) -> str:
    """The kind of tokenizer that models of a family come with."""
    return (
        "sentencepiece" if family[:3] in ("lla", "mis", "mix", "gem") else "byte-level"
    )


def base(folder: Path, family: str, tokenizer: Path, *, tied: bool) -> Path:
    """A random model of a family over a real tokenizer; tied, it has 24 spare rows."""
    folder.mkdir()
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer / name, folder)
    words = AutoTokenizer.from_pretrained(tokenizer)
    model = tiny.model(
        len(words) + (24 if tied else 0),
        family=family,
        tied=tied,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=None,
    )
    model.save_pretrained(folder)
    return folder


def job(tmp_path: Path, base_folder: Path) -> JobSpec:
    """The usual job over made-up text, with instructions."""
    texts = tiny.documents(200)
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"ba ko {number}"},
                {"role": "assistant", "content": " ".join(text.split()[1:4])},
            ]
        }
        for number, text in enumerate(texts[:40])
    ]
    told = tiny.write_rows(tmp_path / "instructions.jsonl", rows)
    latin = tiny.documents(200, script="latin", seed=2)
    data = Data(
        target=(tiny.corpus(tmp_path / "target.jsonl", texts),),
        protected=(tiny.corpus(tmp_path / "kept.jsonl", latin, language="en"),),
        instructions=(Corpus(path=str(told), kind="instructions", languages=("kk",)),),
    )
    return tiny.spec(tmp_path, STAGES, base_folder=base_folder, data=data)


@TIED_AND_PADDED
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_goes_through_the_whole_pipeline(
    tmp_path: Path, family: str, tied: bool, tokenizer_of: Callable[[str], Path]
) -> None:
    folder = base(tmp_path / "b", family, tokenizer_of(kind_for(family)), tied=tied)
    old = AutoTokenizer.from_pretrained(folder)
    run_dir = tmp_path / "run"
    assert run_job(job(tmp_path, folder), run_dir) == 0, read_events(
        run_dir / "events.jsonl"
    )[0][-1]

    report = json.loads((run_dir / "report.json").read_text("utf-8"))
    cut = report["tokenizer"]
    assert cut["after"]["characters_per_token"] > cut["before"]["characters_per_token"]
    assert report["bits_per_byte"]["target"]["after"] < 30
    # What anybody loads, without this project.
    words = AutoTokenizer.from_pretrained(report["model"])
    model = AutoModelForCausalLM.from_pretrained(report["model"])
    assert model.config.tie_word_embeddings is tied
    head, rows = model.get_output_embeddings(), model.get_input_embeddings()
    assert (head.weight.data_ptr() == rows.weight.data_ptr()) is tied
    ids = words(TEXT)["input_ids"]
    assert words.decode(ids, skip_special_tokens=True).strip() == TEXT
    assert (
        max(words.get_vocab().values()) < rows.weight.shape[0] == (head.weight.shape[0])
    )
    assert words.bos_token_id == old.bos_token_id
    with torch.inference_mode():
        assert model(torch.tensor([ids])).logits.isfinite().all()


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    tmp_path: Path, tokenizer_of: Callable[[str], Path]
) -> None:
    """Of the whole pipeline: adapter and merged model, byte for byte."""
    folder = base(tmp_path / "b", "llama", tokenizer_of("sentencepiece"), tied=True)
    spec = job(tmp_path, folder)

    def weights(name: str, seed: int) -> list[bytes]:
        run_dir = tmp_path / name
        assert run_job(replace(spec, seed=seed), run_dir) == 0
        stages = run_dir / "stages"
        return [path.read_bytes() for path in sorted(stages.rglob("*.safetensors"))]

    first, again, other = weights("a", 1), weights("b2", 1), weights("c", 2)
    assert len(first) >= 4 and first == again
    assert first[-1] != other[-1]


def test_a_base_without_bytes_is_refused_for_an_unseen_script(
    tmp_path: Path, tokenizer_of: Callable[[str], Path]
) -> None:
    """With the reason and a remedy, before anything is learned; the same base with bytes
    is not."""
    folder = base(tmp_path / "b", "llama", tokenizer_of("sentencepiece"), tied=True)
    plain = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    plain["model"]["byte_fallback"] = False
    (folder / "tokenizer.json").write_text(json.dumps(plain), encoding="utf-8")
    run_dir = tmp_path / "run"
    assert run_job(job(tmp_path, folder), run_dir) == 2
    failed = read_events(run_dir / "events.jsonl")[0][-1]
    assert failed["kind"] == "failed" and failed["hint"]
    assert failed["stage"] in ("prepare", "extend_vocabulary")
    assert not stage_folder(run_dir, 2, "continue_pretraining").exists()
    assert "fall back to bytes" in failed["sentence"]
    assert "byte fallback" in failed["hint"]
