from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from training import checkpoints, compute
from training.optimisation import make_optimizer

pytestmark = pytest.mark.slow  # needs torch


def _part():
    model = tiny.model(300)
    optimizer = make_optimizer(model, learning_rate=1e-2, weight_decay=0.1)
    return model, optimizer, dict(model.named_parameters())


def _step(model, optimizer) -> None:
    loss = model(input_ids=torch.randint(0, 300, (2, 9))).logits.square().mean()
    (loss * random.random()).backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    model, optimizer, weights = _part()
    compute.seed_everything(4)
    for _ in range(3):
        _step(model, optimizer)
    folder, digest = checkpoints.save(tmp_path, 3, weights, optimizer)
    assert len(digest) == 64
    for _ in range(2):
        _step(model, optimizer)
    after = {name: tensor.clone() for name, tensor in weights.items()}
    model, optimizer, weights = _part()
    assert checkpoints.load(folder, weights, optimizer) == 3
    for _ in range(2):
        _step(model, optimizer)
    assert all(torch.equal(weights[name], after[name]) for name in after)


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    _, optimizer, weights = _part()
    for step in (9, 10, 100):
        checkpoints.save(tmp_path, step, weights, optimizer)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-00000010", "step-00000100"]
    assert checkpoints.newest(tmp_path).name == "step-00000100"


@pytest.mark.parametrize("file", ["weights.safetensors", "state.pt", "manifest.json"])
def test_a_damaged_file_is_seen(tmp_path: Path, file: str) -> None:
    _, optimizer, weights = _part()
    checkpoints.save(tmp_path, 1, weights, optimizer)
    folder, _ = checkpoints.save(tmp_path, 2, weights, optimizer)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    assert checkpoints.newest(tmp_path).name == "step-00000001"


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_full_disk_while_saving_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """The sync of any file, manifest or folder fails: the one before is still whole."""
    _, optimizer, weights = _part()
    checkpoints.save(tmp_path, 1, weights, optimizer)
    calls = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == nth:
            raise OSError(28, "no space")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(checkpoints.manifest.os, "fsync", fail)
        checkpoints.save(tmp_path, 2, weights, optimizer)
    found = checkpoints.newest(tmp_path)
    assert found.name in ("step-00000001", "step-00000002")
    assert checkpoints.manifest.is_whole(found)
    checkpoints.save(tmp_path, 2, weights, optimizer)
    assert checkpoints.newest(tmp_path).name == "step-00000002"


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    model, optimizer, weights = _part()
    folder, _ = checkpoints.save(tmp_path, 1, weights, optimizer)
    torch.save({"optimizer": Path, "random": {}}, folder / "state.pt")
    with pytest.raises(Exception, match="[Ww]eights"):
        checkpoints.load(folder, weights, optimizer)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    _, optimizer, weights = _part()
    folder, _ = checkpoints.save(tmp_path, 1, weights, optimizer)
    weights.popitem()
    with pytest.raises(ValueError, match="other weights"):
        checkpoints.load(folder, weights, optimizer)
