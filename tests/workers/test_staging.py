from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from training.errors import InputMissing
from training.spec import Data
from workers.staging import stage_spec

ROWS = b'{"text": "habari"}\n'
SHA256 = hashlib.sha256(ROWS).hexdigest()
OBJECT_STORE = {
    "default": {"BACKEND": "tests.workers.object_store.ObjectStore"},
    "staticfiles": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
}


def spec(rows: str = "datasets/1/rows.jsonl", base: str = "models/1") -> dict[str, Any]:
    corpus = {"path": rows, "kind": "monolingual", "languages": ["sw"]}
    return {"base": base, "data": {"target": [{**corpus, "sha256": SHA256}]}}


def target(staged: dict[str, Any]) -> Path:
    return Path(staged["data"]["target"][0]["path"])


def fill(rows: bytes = ROWS) -> None:
    default_storage.save("datasets/1/rows.jsonl", ContentFile(rows))
    default_storage.save("models/1/config.json", ContentFile(b"{}"))
    default_storage.save("models/1/inner/weights", ContentFile(b"123"))


def test_on_a_local_disk_nothing_is_copied(tmp_path: Path, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"
    fill()
    given = spec()
    staged = stage_spec(given, tmp_path / "inputs")
    assert target(staged) == tmp_path / "files/datasets/1/rows.jsonl"
    assert staged["base"] == str(tmp_path / "files/models/1")
    assert not (tmp_path / "inputs").exists()
    assert given == spec()  # what stands on the row is not changed


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    staged = stage_spec(spec("/data/rows.jsonl", "/models/base"), tmp_path)
    assert str(target(staged)) == "/data/rows.jsonl"
    assert staged["base"] == "/models/base"


def test_an_object_store_is_copied_once(tmp_path: Path, settings: Any) -> None:
    settings.STORAGES = OBJECT_STORE
    fill()
    staged = stage_spec(spec(), tmp_path)
    assert target(staged).read_bytes() == ROWS
    assert (Path(staged["base"]) / "inner/weights").read_bytes() == b"123"
    default_storage.delete("datasets/1/rows.jsonl")
    default_storage.delete("models/1/config.json")
    assert stage_spec(spec(), tmp_path) == staged  # another attempt has them already


def test_other_contents_are_refused_and_not_kept(tmp_path: Path, settings: Any) -> None:
    settings.STORAGES = OBJECT_STORE
    fill(b"something else")
    with pytest.raises(InputMissing, match="has changed since the launch"):
        stage_spec(spec(), tmp_path)
    assert not list(tmp_path.glob(f"{SHA256}*"))


@pytest.mark.parametrize("gone", ["datasets/1/rows.jsonl", "models/1"])
def test_what_is_missing_is_named(tmp_path: Path, settings: Any, gone: str) -> None:
    settings.STORAGES = OBJECT_STORE
    fill()
    if gone == "models/1":
        default_storage.delete("models/1/config.json")
        default_storage.delete("models/1/inner/weights")
    else:
        default_storage.delete(gone)
    with pytest.raises(InputMissing, match=gone):
        stage_spec(spec(), tmp_path)


def test_files_of_every_role_are_brought(tmp_path: Path, settings: Any) -> None:
    settings.STORAGES = OBJECT_STORE
    fill()
    given = spec()
    roles = [field.name for field in dataclasses.fields(Data)]
    given["data"] = {role: given["data"]["target"] for role in roles}
    staged = stage_spec(given, tmp_path)
    for role in roles:
        path = Path(staged["data"][role][0]["path"])
        assert path.parent == tmp_path and path.read_bytes() == ROWS, role
