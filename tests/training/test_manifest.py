from __future__ import annotations

from pathlib import Path

import pytest

from training import manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "stage.part"
    (made / "model").mkdir(parents=True)
    (made / "model" / "weights").write_bytes(b"0123456789")
    (made / "text").write_text("བོད")
    manifest.seal(made, stage="merge", seed=3)
    return made


def test_a_sealed_folder_is_whole(folder: Path) -> None:
    assert manifest.is_whole(folder)
    record = manifest.read(folder)
    assert record["seed"] == 3
    assert set(record["files"]) == {"model/weights", "text"}
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "unsealed", "half"])
def test_damage_is_seen(folder: Path, damage: str) -> None:
    weights, record = folder / "model" / "weights", folder / manifest.NAME
    if damage == "flip":
        weights.write_bytes(b"0123456788")
    elif damage == "cut":
        weights.write_bytes(b"01234")
    elif damage == "remove":
        weights.unlink()
    elif damage == "unsealed":
        record.unlink()
    else:
        record.write_text(record.read_text()[:20])
    assert not manifest.is_whole(folder)


def test_publishing_replaces_what_was_unfinished(folder: Path) -> None:
    final = folder.with_name("stage")
    (final / "old").mkdir(parents=True)
    manifest.publish(folder, final)
    assert manifest.is_whole(final)
    assert not (final / "old").exists() and not folder.exists()


def test_the_hash_follows_the_contents(folder: Path) -> None:
    one = manifest.seal(folder)
    assert manifest.seal(folder) == one
    (folder / "text").write_text("བོད།")
    assert manifest.seal(folder) != one


def test_no_folder_is_not_whole(tmp_path: Path) -> None:
    assert not manifest.is_whole(tmp_path / "missing")
