"""A request from a job: sides of pairs, files, and the stage as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from tests.training.embeddings import material as made_up
from training import families
from training.embeddings import material
from training.errors import InputMissing
from training.events import read_events
from training.run import StageContext
from training.spec import ExtendVocabulary, Resources
from training.stages import extend_vocabulary

PAIRS = [{"source": a, "target": b} for a, b in made_up.pairs()]


def context(
    folder: Path,
    method: str,
    resources: Resources | None = None,
    vocabulary: str = "continued_bpe",
) -> StageContext:
    prepared = folder / "prepared"
    # Names and full stops: old tokens that the new language's text has too.
    texts = [f"{b} {a.split()[0]}." for a, b in made_up.pairs()]
    for name, rows in {
        "target-train": [{"text": text} for text in texts[:250]],
        "target-validation": [{"text": text} for text in texts[250:]],
        "protected-train": [{"text": row["source"]} for row in PAIRS],
        "parallel-train": [{**row, "languages": ["en", "kk"]} for row in PAIRS],
        "dictionary-train": [
            {"source": b, "target": a, "languages": ["kk", "en"]}
            for a, b in made_up.lexicon()
        ],
    }.items():
        tiny.write_rows(prepared / f"{name}.jsonl", rows)
    settings = ExtendVocabulary(
        method=vocabulary,
        new_tokens=80,
        minimum_occurrences=4,
        initialisation=method,
    )
    base = tiny.base(folder / "base", tied=False)
    job = tiny.spec(
        folder,
        [settings],
        base_folder=base,
        count=4,
        resources=resources or Resources(),
    )
    return tiny.context(job, settings, folder / "run", finished={"prepare": prepared})


def test_both_orders_of_languages_end_as_base_and_target(tmp_path: Path) -> None:
    found = material.request(context(tmp_path, "mean"), [], made_up.bases.byte_level())
    assert list(found.pairs()) == made_up.pairs()
    assert list(found.dictionary()) == made_up.lexicon()
    assert list(found.base_texts()) == [one for one, _ in made_up.pairs()]
    assert found.donor is None and found.target_vectors is None


def test_sides_are_told_by_language_and_other_rows_are_left_out(tmp_path: Path) -> None:
    """Rows of two other languages would teach another one, and their second side used to
    pass for the target."""
    place = context(tmp_path, "mean")
    rows = [
        {"source": "кк", "target": "en", "languages": ["kk", "en"]},
        {"source": "ru", "target": "кк", "languages": ["ru", "kk"]},
        {"source": "fr", "target": "de", "languages": ["fr", "de"]},
        {"source": "en", "target": " ", "languages": ["en", "kk"]},
    ]
    tiny.write_rows(place.prepared / "parallel-train.jsonl", rows)
    found = material.request(place, [], made_up.bases.byte_level())
    assert list(found.pairs()) == [("en", "кк"), ("ru", "кк")]


def test_a_resource_that_is_not_there_is_named(tmp_path: Path) -> None:
    gone = context(tmp_path, "omp", Resources(donor=str(tmp_path / "gone")))
    with pytest.raises(InputMissing, match="gone is not there"):
        material.request(gone, [], made_up.bases.byte_level())


@pytest.mark.parametrize("method", ["wechsel", "trans_tokenization", "focus", "omp"])
def test_the_stage_makes_the_rows_as_asked(tmp_path: Path, method: str) -> None:
    donor = made_up.donor(tmp_path / "donor")
    stage = context(tmp_path, method, Resources(donor=str(donor)))
    extend_vocabulary.run(stage)
    tokens = json.loads((stage.folder / "vocabulary.json").read_text("utf-8"))
    rows = families.load_model(stage.folder / "model").get_input_embeddings().weight
    old = families.load_model(Path(stage.spec.base)).get_input_embeddings().weight
    assert torch.equal(rows[:320], old)
    means = [
        torch.allclose(rows[token["id"]], old[token["base_ids"]].mean(0), atol=1e-6)
        for token in tokens
    ]
    assert sum(means) < len(means) / 2  # the control: not what "mean" would give


def test_tokens_that_the_method_is_silent_about_are_said(tmp_path: Path) -> None:
    stage = context(tmp_path, "wechsel")
    extend_vocabulary.run(stage)
    events, _ = read_events(stage.events.path)
    said = [
        e["sentence"] for e in events if "start as the mean" in e.get("sentence", "")
    ]
    assert len(said) == 1 and "wechsel" in said[0]


@pytest.mark.parametrize("method", ["focus", "align", "trans_tokenization"])
def test_a_replaced_vocabulary_goes_through_the_stage(
    tmp_path: Path, method: str
) -> None:
    stage = context(tmp_path, method, vocabulary="replace")
    extend_vocabulary.run(stage)
    kept = json.loads((stage.folder / "kept.json").read_text("utf-8"))
    rows = families.load_model(stage.folder / "model").get_input_embeddings().weight
    old = families.load_model(Path(stage.spec.base)).get_input_embeddings().weight
    assert kept and rows.isfinite().all()
    for new, place in kept.items():
        assert torch.equal(rows[int(new)], old[place])
