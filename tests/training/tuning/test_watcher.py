"""Checkpoints of a library's trainer."""

from __future__ import annotations

from pathlib import Path

from training import manifest
from training.tuning import watcher


def test_a_damaged_checkpoint_is_not_resumed_from(tmp_path: Path):
    for step in (2, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_text("whole")
        manifest.seal(folder, step=step)
    assert watcher.newest_checkpoint(tmp_path).name == "checkpoint-10"
    (tmp_path / "checkpoint-10" / "weights").write_text("torn")
    assert watcher.newest_checkpoint(tmp_path).name == "checkpoint-2"
