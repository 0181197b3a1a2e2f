"""Folders that are whole or not there: hashes, manifests, write-then-rename.

A folder counts as finished when it has a `manifest.json` and every file in it has the
size and hash written there. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

NAME = "manifest.json"


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, **facts: Any) -> str:
    """Write the manifest of `folder` last, synced to disk; returns its hash.

    `facts` are kept beside the file list (stage, seed, settings, versions...).
    """
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != NAME):
        _sync(path)
        files[path.relative_to(folder).as_posix()] = {
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
    write_json(folder / NAME, {**facts, "files": files})
    return file_sha256(folder / NAME)


def write_json(path: Path, plain: Any) -> None:
    """A JSON file that is whole or not there, also after the machine went down."""
    part = path.with_name(path.name + ".part")
    text = json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
    part.write_text(text, encoding="utf-8")
    _sync(part)
    part.rename(path)
    _sync(path.parent)


def publish(temporary: Path, final: Path) -> None:
    """Rename a sealed folder into place, replacing an unfinished one."""
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(final.parent)


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest, or None where there is none."""
    try:
        return json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def is_whole(folder: Path) -> bool:
    """Whether every file named in the manifest is there with its size and hash."""
    manifest = read(folder)
    if manifest is None:
        return False
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["bytes"]:
            return False
        if file_sha256(path) != facts["sha256"]:
            return False
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
