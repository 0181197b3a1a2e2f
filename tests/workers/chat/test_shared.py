"""Several languages over one base: the answers of merged models, one base in memory."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from training import adapters, families, merging, templates
from workers.chat.loaded import LoadedModels
from workers.chat.shared import SharedBase, parts_of

# Whole stages with real models: not for the quick loop.
pytestmark = pytest.mark.slow

QUESTION = [{"role": "user", "content": "bako mira tusal"}]
SAMPLING = {"max_tokens": 24, "temperature": 0.0}


def published(place: Path, base: Path, form, seed: int) -> Path:
    """model/, adapter/ and base/ as a finished job leaves them; markers are trained."""
    shutil.copytree(base, place / "base")
    additions = adapters.Additions(rank=4, alpha=8, rows=form.markers)
    tuned = adapters.attach(families.load_model(base), additions, stage="test")
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            # Little on the markers, so that no answer ends before it has begun.
            size = 0.4 if "lora_" in name else 0.02
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * size)
    words = families.load_tokenizer(base)
    adapters.save_adapter(tuned, place / "adapter")
    words.save_pretrained(place / "adapter")
    model = tuned.merge_and_unload(safe_merge=True)
    merging.save_model(model, words, place / "model", base)
    return place / "model"


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folders(request, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("models")
    base = tiny.base(place / "given", tied=request.param)
    words = families.load_tokenizer(base)
    form = templates.set_up(words)
    model = families.load_model(base)
    merging.save_model(model, words, place / "base", base)
    return [published(place / str(n), place / "base", form, n) for n in range(3)]


def ask(models: LoadedModels, folder: Path) -> str:
    return "".join(models.answer(folder, QUESTION, threading.Event(), SAMPLING))


def alone(folder: Path) -> str:
    return ask(LoadedModels(), folder)


def parameters(models: LoadedModels) -> int:
    whole = {id(m): m for m in models._models.values()}.values()
    return sum(p.numel() for m in whole for p in m.model.parameters())


def test_answers_are_those_of_the_merged_models(folders: list[Path]) -> None:
    models = LoadedModels(most=1)
    expected = [alone(folder) for folder in folders]
    assert len(set(expected)) == 3, "the adapters must differ for this to say anything"
    for number in (0, 1, 2, 0, 2, 1, 1, 0):
        assert ask(models, folders[number]) == expected[number]
    assert set(models.in_memory()) == set(folders)


def test_a_base_is_in_memory_once(folders: list[Path]) -> None:
    models = LoadedModels(most=2)
    ask(models, folders[0])
    one = parameters(models)
    ask(models, folders[1])
    two = parameters(models)
    ask(models, folders[2])
    three = parameters(models)
    # The first step also brings the first adapter, which was merged.
    assert two < 1.9 * one and three - two == (two - one) // 2
    shared = models._models[folders[0]]
    assert isinstance(shared, SharedBase)
    assert models._models[folders[1]] is models._models[folders[2]] is shared


def test_adapters_are_given_back_one_by_one(folders: list[Path]) -> None:
    now = [0.0]
    models = LoadedModels(idle_seconds=100, clock=lambda: now[0])
    before = ask(models, folders[0])
    ask(models, folders[1])
    now[0] = 60
    assert ask(models, folders[0]) == before
    now[0] = 120
    assert models.give_back() == 1 and models.in_memory() == [folders[0]]
    assert ask(models, folders[0]) == before
    assert ask(models, folders[2]) == alone(folders[2])
    now[0] = 500
    assert models.give_back() == 2 and models.in_memory() == []


def test_another_base_is_not_shared(folders: list[Path], tmp_path: Path) -> None:
    """The same sizes and other weights: what one adapter says over the other's base."""
    shutil.copytree(folders[0].parent, tmp_path / "other")
    folder = tmp_path / "other" / "model"
    one, same = parts_of(folders[0]), parts_of(folder)
    assert one and same and one.same_base(same)
    shutil.copytree(folders[0].parent, tmp_path / "third")
    weights = tmp_path / "third" / "base" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    third = parts_of(tmp_path / "third" / "model")
    assert third and not one.same_base(third)
    models = LoadedModels(most=2)
    ask(models, folders[0])
    ask(models, tmp_path / "third" / "model")
    assert not any(isinstance(m, SharedBase) for m in models._models.values())


def test_a_model_without_its_adapter_stands_by_itself(tmp_path: Path) -> None:
    folder = tiny.base(tmp_path / "model")
    assert parts_of(folder) is None
