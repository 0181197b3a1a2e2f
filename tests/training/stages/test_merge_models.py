"""Merging whole models: vocabularies that differ, chats that come along, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from training import families, merging
from training.errors import BaseUnsuitable, MaterialMissing, TokenizerMismatch
from training.events import read_events
from training.merging import relatives
from training.run import run_job
from training.settings.needs import refuse_absent
from training.spec import (
    ExtendVocabulary,
    JobSpec,
    MergeModels,
    Prepare,
    Resources,
    StageSettings,
)
from training.stages import merge_models

NEW = ExtendVocabulary(new_tokens=24, minimum_occurrences=2, initialisation="random")


def changed(source: Path, into: Path, *, chat: bool = False, seed: int = 3) -> Path:
    """A model that grew from `source`: every weight a little other."""
    model = families.load_model(source)
    tokenizer = families.load_tokenizer(source)
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=dice))
    if chat:
        tokenizer.add_special_tokens({"extra_special_tokens": ["<|me|>", "<|you|>"]})
        model.resize_token_embeddings(len(tokenizer) + 6, mean_resizing=False)
        tokenizer.chat_template = (
            "{% for m in messages %}{{ '<|me|>' + m['content'] + '<|you|>' }}"
            "{% endfor %}"
        )
        model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(
            "<|you|>"
        )
    model.save_pretrained(into)
    tokenizer.save_pretrained(into)
    return into


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(families.load_model(folder).named_parameters())


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A base, its instruct sibling, another child, and an adapted model with new rows."""
    folder = tmp_path_factory.mktemp("family")
    base = tiny.base(folder / "base", tied=request.param, extra_rows=5)
    job = tiny.spec(folder, (Prepare(), NEW), base_folder=base)
    assert run_job(job, folder / "run") == 0
    extended = folder / "run/stages/01-extend_vocabulary/model"
    return {
        "base": base,
        "prepared": folder / "run/stages/00-prepare",
        "extended": extended,
        "adapted": changed(extended, folder / "adapted"),
        "instruct": changed(base, folder / "instruct", chat=True, seed=4),
        "other": changed(extended, folder / "other", seed=5),
    }


def run_stage(
    family: dict[str, Path],
    tmp_path: Path,
    settings: MergeModels,
    *,
    own: str = "adapted",
    **resources: object,
) -> tuple[Path, dict[str, object]]:
    job: JobSpec = tiny.spec(tmp_path, (settings,), base_folder=family["base"])
    job = replace(job, resources=Resources(**resources))
    context = tiny.context(
        job,
        settings,
        tmp_path,
        model_folder=family[own],
        finished={"prepare": family["prepared"]},
    )
    figures = merge_models.run(context)
    return context.folder / "model", figures


@pytest.mark.slow
def test_all_the_way_is_the_adapted_model(
    family: dict[str, Path], tmp_path: Path
) -> None:
    folder, figures = run_stage(family, tmp_path, MergeModels(weight=1.0))
    for name, tensor in weights(family["adapted"]).items():
        assert torch.equal(tensor, weights(folder)[name]), name
    assert figures["relative_change"] == 0
    assert figures["own_tokens"] == 24
    (note,) = read_events(tmp_path / "events.jsonl")[0]
    assert "next to nothing" in note["sentence"] and note["level"] == "warning"


def test_none_of_the_way_is_the_base_and_new_rows_stay(
    family: dict[str, Path], tmp_path: Path
) -> None:
    folder, figures = run_stage(family, tmp_path, MergeModels(weight=0.0))
    base, found, own = map(weights, (family["base"], folder, family["adapted"]))
    old = families.load_tokenizer(family["base"]).get_vocab()
    new = families.load_tokenizer(folder).get_vocab()
    rows = [n for n in base if base[n].shape != own[n].shape]
    assert rows
    for name in set(base) - set(rows):
        assert torch.equal(base[name], found[name]), name
    for name in rows:
        for token, id_ in new.items():
            expected = base[name][old[token]] if token in old else own[name][id_]
            assert torch.equal(found[name][id_], expected), (name, token)
    assert figures["relative_change"] > 0
    assert not (tmp_path / "events.jsonl").exists()


def test_back_from_a_model_that_is_the_jobs_base(
    family: dict[str, Path], tmp_path: Path
) -> None:
    job = tiny.spec(tmp_path, (MergeModels(weight=0.0),), base_folder=family["adapted"])
    context = tiny.context(job, job.stages[0], tmp_path)
    with pytest.raises(BaseUnsuitable, match="nothing to go back to"):
        merge_models.run(context)
    named = replace(job, resources=Resources(models=(str(family["base"]),)))
    figures = merge_models.run(tiny.context(named, job.stages[0], tmp_path / "named"))
    assert figures["relative_change"] > 0
    assert not (tmp_path / "events.jsonl").exists()


@pytest.mark.slow
def test_an_adapted_model_that_is_the_base_becomes_the_sibling(
    family: dict[str, Path], tmp_path: Path
) -> None:
    """Adapted = base and weight 1: every shared row and the body are instruct's."""
    for method in ("chat_vector", "lep"):
        folder, figures = run_stage(
            family,
            tmp_path / method,
            MergeModels(method=method),
            own="extended",
            instruct=str(family["instruct"]),
        )
        found, sibling = weights(folder), weights(family["instruct"])
        tokenizer = families.load_tokenizer(folder)
        ids = families.load_tokenizer(family["instruct"]).get_vocab()
        for name, tensor in sibling.items():
            if tensor.shape == found[name].shape:
                assert torch.allclose(tensor, found[name], atol=1e-5), name
                continue
            for token, id_ in ids.items():
                row = found[name][tokenizer.convert_tokens_to_ids(token)]
                assert torch.allclose(tensor[id_], row, atol=1e-5), token
        assert figures["markers"] >= 2


@pytest.mark.slow
def test_a_chat_comes_along_with_its_markers_and_its_end(
    family: dict[str, Path], tmp_path: Path
) -> None:
    folder, _ = run_stage(
        family,
        tmp_path,
        MergeModels(method="chat_vector"),
        instruct=str(family["instruct"]),
    )
    tokenizer = families.load_tokenizer(folder)
    chat = [{"role": "user", "content": "aa"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<|me|>aa<|you|>"
    model = families.load_model(folder)
    end = model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    assert tokenizer.convert_tokens_to_ids("<|you|>") in ends
    # New pieces keep their ids: the markers stand behind them.
    before = families.load_tokenizer(family["adapted"]).get_vocab()
    assert {t: i for t, i in tokenizer.get_vocab().items() if t in before} == before


def test_equal_siblings_leave_the_adapted_rows_as_they_are(
    family: dict[str, Path], tmp_path: Path
) -> None:
    """P10: with instruct = base the projection is the identity."""
    twin = tmp_path / "twin"
    tokenizer = families.load_tokenizer(family["base"])
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    families.load_model(family["base"]).save_pretrained(twin)
    tokenizer.save_pretrained(twin)
    folder, _ = run_stage(
        family, tmp_path, MergeModels(method="lep"), instruct=str(twin)
    )
    found, own = weights(folder), weights(family["adapted"])
    special = set(families.load_tokenizer(folder).added_tokens_decoder)
    for name, tensor in own.items():
        kept = [i for i in range(len(tensor)) if i not in special]
        assert torch.allclose(found[name][kept], tensor[kept], atol=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "weight", "share"),
    [("chat_vector", 0.5, 0.5), ("re_adapt", 1.0, 1.0), ("lep", 0.5, 1.0)],
)
def test_new_rows_go_where_tuning_took_the_old_ones(
    family: dict[str, Path], tmp_path: Path, method: str, weight: float, share: float
) -> None:
    """A sibling whose rows are the base's, all turned and stretched alike."""
    turned = tmp_path / "turned"
    model = families.load_model(family["instruct"])
    start = families.load_model(family["base"])
    map_ = torch.eye(32) + 0.3 * torch.randn(32, 32, generator=_dice())
    with torch.no_grad():
        for name, row in _matrices(start).items():
            dict(model.named_parameters())[name][: len(row)] = row @ map_
    model.save_pretrained(turned)
    families.load_tokenizer(family["instruct"]).save_pretrained(turned)
    folder, _ = run_stage(
        family,
        tmp_path,
        MergeModels(method=method, weight=weight),
        own="extended",
        instruct=str(turned),
    )
    found, own = weights(folder), weights(family["extended"])
    old = families.load_tokenizer(family["base"]).get_vocab()
    ids = families.load_tokenizer(family["extended"]).get_vocab()
    new = [id_ for token, id_ in ids.items() if token not in old]
    for name in _matrices(start):
        expected = torch.lerp(own[name][new], own[name][new] @ map_, share)
        assert torch.allclose(found[name][new], expected, atol=1e-4), name
        assert not torch.allclose(own[name][new], expected, atol=1e-2)


def _dice() -> torch.Generator:
    return torch.Generator().manual_seed(8)


def _matrices(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters with a row for each token, by name."""
    return {
        name: p
        for name, p in model.named_parameters()
        if "embed_tokens" in name or "lm_head" in name
    }


@pytest.mark.slow
@pytest.mark.parametrize("method", ["linear", "slerp", "ties", "dare", "dare_ties"])
def test_two_children_are_merged_and_the_seed_decides(
    family: dict[str, Path], tmp_path: Path, method: str
) -> None:
    settings = MergeModels(method=method, weight=0.5)
    one, figures = run_stage(
        family, tmp_path / "one", settings, models=(str(family["other"]),)
    )
    two, _ = run_stage(
        family, tmp_path / "two", settings, models=(str(family["other"]),)
    )
    first, own = weights(one), weights(family["adapted"])
    assert all(torch.equal(t, weights(two)[n]) for n, t in first.items())
    assert any(not torch.equal(t, own[n]) for n, t in first.items())
    assert figures["reload_difference"] < 1e-4
    assert merging.is_tied(families.load_model(one)) == merging.is_tied(
        families.load_model(family["base"])
    )


def test_strangers_are_refused(
    family: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = tiny.base(tmp_path / "gpt2", family="gpt2")
    with pytest.raises(BaseUnsuitable, match="has other parts"):
        run_stage(family, tmp_path, MergeModels(method="ties"), models=(str(stranger),))
    # Tiny vocabularies are mostly bytes, which all tokenizers of a kind share.
    monkeypatch.setattr(relatives, "SHARED_TOKENS_AT_LEAST", 0.99)
    another = tmp_path / "another"
    words = tiny.tokenizer(tiny.documents(60, seed=9), 300)
    words.save_pretrained(another)
    tied = merging.is_tied(families.load_model(family["base"]))
    tiny.model(len(words), tied=tied).save_pretrained(another)
    with pytest.raises(TokenizerMismatch, match="shares only"):
        run_stage(
            family, tmp_path / "two", MergeModels(method="ties"), models=(str(another),)
        )


def test_a_sibling_that_cannot_chat_is_refused(
    family: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BaseUnsuitable, match="no chat template"):
        run_stage(
            family,
            tmp_path,
            MergeModels(method="chat_vector"),
            instruct=str(family["base"]),
        )


def test_what_a_method_needs_is_said_before_anything_runs(
    family: dict[str, Path], tmp_path: Path
) -> None:
    stages: tuple[StageSettings, ...] = (Prepare(), MergeModels(method="chat_vector"))
    job = tiny.spec(tmp_path, stages, base_folder=family["base"])
    with pytest.raises(MaterialMissing, match="instruction-tuned sibling"):
        refuse_absent(job)
    job = replace(job, resources=Resources(instruct=str(family["instruct"])))
    refuse_absent(job)
    assert json.loads(json.dumps(job.as_json()))["resources"]["instruct"]
