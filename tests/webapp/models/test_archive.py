from __future__ import annotations

import asyncio
import io
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from webapp.models.archive import BLOCK_BYTES, in_threads, zip_folder


@pytest.fixture
def folder(settings: Any) -> Path:
    folder = Path(settings.MEDIA_ROOT) / "models" / "one"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("of the stage")
    (folder / "deep" / "empty").write_bytes(b"")
    (folder / "ئۇيغۇر.txt").write_text("ug")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 20_000)
    return folder


def test_the_archive_opens_and_holds_the_files(folder: Path) -> None:
    blocks = list(zip_folder("models/one", "mine", {"README.md": b"the card"}))
    assert len(blocks) > 4, "it is sent piece by piece"
    with zipfile.ZipFile(io.BytesIO(b"".join(blocks))) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            "mine/README.md",
            "mine/config.json",
            "mine/deep/empty",
            "mine/model.safetensors",
            "mine/ئۇيغۇر.txt",
        ]
        assert archive.read("mine/README.md") == b"the card"
        weights = (folder / "model.safetensors").read_bytes()
        assert archive.read("mine/model.safetensors") == weights
        assert {entry.compress_type for entry in archive.infolist()} == {0}


def test_large_files_are_written_as_zip64(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1_000_000)
    blob = b"".join(zip_folder("models/one", "mine", {}))
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        assert archive.testzip() is None
        (entry,) = (e for e in archive.infolist() if e.file_size > 1_000_000)
        assert entry.extract_version >= zipfile.ZIP64_VERSION


def test_memory_stays_flat(folder: Path) -> None:
    with (folder / "large.bin").open("wb") as file:
        file.truncate(60 * BLOCK_BYTES)
    tracemalloc.start()
    size = sum(len(block) for block in zip_folder("models/one", "mine", {}))
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 60 * BLOCK_BYTES
    assert peak < 8 * BLOCK_BYTES


def test_blocks_are_made_one_by_one_for_the_server() -> None:
    made = []

    def blocks() -> Iterator[bytes]:
        for number in range(5):
            made.append(number)
            yield bytes([number])

    async def first_two() -> list[bytes]:
        stream = in_threads(blocks())
        return [await anext(stream), await anext(stream)]

    assert asyncio.run(first_two()) == [b"\0", b"\1"]
    assert made == [0, 1], "the rest was made before it was asked for"
