"""The whole pipeline after every method that changes the vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from training.events import read_events
from training.families import load_model, load_tokenizer
from training.run import run_job
from training.spec import (
    ContinuePretraining,
    Corpus,
    Data,
    Evaluate,
    ExtendVocabulary,
    Merge,
    Prepare,
    TuneInstructions,
)

ADD = ExtendVocabulary(new_tokens=60, minimum_occurrences=4, round_rows_to=8)
PRUNE = ExtendVocabulary(method="prune", prune_tokens=60, round_rows_to=8)
METHODS = {
    "append": [ExtendVocabulary(method="append", new_tokens=60, minimum_occurrences=4)],
    "replace": [ExtendVocabulary(method="replace", vocabulary_size=380)],
    "prune": [PRUNE],
    "prune and continued_bpe": [PRUNE, ADD],
}


@pytest.mark.slow
@pytest.mark.parametrize("learning", ["full", "lora"])
@pytest.mark.parametrize("name", METHODS)
def test_from_vocabulary_to_report(tmp_path: Path, name: str, learning: str) -> None:
    words = [" ".join(text.split()[1:4]) for text in tiny.documents(40)]
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"ba ko {number}"},
                {"role": "assistant", "content": answer},
            ]
        }
        for number, answer in enumerate(words)
    ]
    told = tiny.write_rows(tmp_path / "instructions.jsonl", rows)
    target = tiny.corpus(tmp_path / "target.jsonl", tiny.documents(200))
    latin = tiny.documents(200, script="latin", seed=2)
    kept = tiny.corpus(tmp_path / "protected.jsonl", latin, language="en")
    instructions = Corpus(path=str(told), kind="instructions", languages=("kk",))
    base = tiny.base(tmp_path / "base", tied=learning == "full", extra_rows=8)
    job = tiny.spec(
        tmp_path,
        [
            Prepare(chunk_characters=100),
            *METHODS[name],
            ContinuePretraining(
                method=learning, steps=6, block_tokens=64, batch_blocks=2
            ),
            TuneInstructions(steps=4, batch_examples=2),
            Merge(),
            Evaluate(),
        ],
        base_folder=base,
        data=Data(target=(target,), protected=(kept,), instructions=(instructions,)),
    )
    run_dir = tmp_path / "run"
    events = run_dir / "events.jsonl"
    assert run_job(job, run_dir) == 0, read_events(events)[0][-1]
    report = json.loads((run_dir / "report.json").read_text("utf-8"))
    for role in ("target", "protected"):
        assert 0 < report["bits_per_byte"][role]["after"] < 20
    folder = Path(report["model"])
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    text = "қабарба ko 12"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert model(torch.tensor([ids])).logits.isfinite().all()
    rows_there = model.get_input_embeddings().weight.shape[0]
    assert rows_there > max(tokenizer.get_vocab().values())
    if name == "prune":
        assert len(tokenizer) < len(load_tokenizer(base)) - 50
