"""Checkpoints of the pretraining loop: everything a run needs to go on exactly.

    ROOT/step-00000400/weights.safetensors   trained weights by name
    ROOT/step-00000400/state.pt              optimizer and generators
    ROOT/step-00000400/kept.safetensors      other tensors a method carries along
    ROOT/step-00000400/manifest.json         step and hashes, written last

A folder counts when its manifest is there and every hash is right. Nothing is unpickled
but tensors and plain values (`weights_only`).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from training import compute, manifest
from training.ranks import ALONE, Ranks

log = logging.getLogger(__name__)

KEPT = 2


def save(
    root: Path,
    step: int,
    weights: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    kept: Mapping[str, torch.Tensor] | None = None,
    among: Ranks = ALONE,
) -> tuple[Path, str]:
    """Write a checkpoint beside the others, then let it appear; keeps the last KEPT.

    `kept` are tensors that `kept_tensors` gives back. Returns the folder and the hash
    of its manifest. `among` several processes every one calls it and the first writes:
    the files are those of a single process; the hash is empty on the others.
    """
    final = root / f"step-{step:08d}"
    weights = among.whole(dict(weights))
    optimizer_state = among.whole(optimizer.state_dict())
    if not among.first:
        return final, ""
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / (final.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in weights.items()},
        temporary / "weights.safetensors",
    )
    if kept:
        plain = {name: tensor.detach().contiguous() for name, tensor in kept.items()}
        save_file(plain, temporary / "kept.safetensors")
    state = {"optimizer": optimizer_state, "random": compute.random_state()}
    torch.save(state, temporary / "state.pt")
    digest = manifest.seal(temporary, step=step)
    manifest.publish(temporary, final)
    for old in _folders(root)[:-KEPT]:
        shutil.rmtree(old)
    return final, digest


def newest(root: Path) -> Path | None:
    """The newest whole checkpoint; damaged ones are passed over."""
    for folder in reversed(_folders(root)):
        if manifest.is_whole(folder):
            return folder
        log.warning("passed over the damaged checkpoint %s", folder)
    return None


def load(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    among: Ranks = ALONE,
) -> int:
    """Put a checkpoint into `weights`, the optimizer and the generators; its step."""
    stored = load_file(folder / "weights.safetensors")
    if stored.keys() != weights.keys():
        raise ValueError(f"{folder} holds other weights than the model")
    among.put(stored, weights)
    state: dict[str, Any] = torch.load(
        folder / "state.pt", map_location="cpu", weights_only=True
    )
    among.put_state(state["optimizer"], optimizer)
    compute.restore_random_state(state["random"])
    return int(folder.name.removeprefix("step-"))


def kept_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """What `save` was given to keep; nothing where it was given nothing."""
    path = folder / "kept.safetensors"
    return load_file(path) if path.is_file() else {}


def _folders(root: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    if not root.is_dir():
        return []
    return sorted(p for p in root.glob("step-*") if p.is_dir() and not p.suffix)
