"""Stored files as local ones, whether the storage is a folder or an object store."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.files import File
from django.core.files.storage import default_storage


def local_path(name: str) -> Path | None:
    """Where a stored file or folder lies on this machine; None in an object store.

    An absolute path is one already.
    """
    if Path(name).is_absolute():
        return Path(name)
    try:
        return Path(default_storage.path(name))
    except NotImplementedError:
        return None


@contextmanager
def as_local(name: str) -> Iterator[Path]:
    """A stored file as a path that can be read while the context lasts."""
    if path := local_path(name):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(name).name
        with default_storage.open(name) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        yield copy


def store(path: Path, name: str) -> str:
    """Move a finished local file into the storage; returns its stored name."""
    if place := local_path(name):
        place.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        shutil.move(path, place)
        sync_folder(place.parent)
        return name
    with path.open("rb") as file:
        stored = default_storage.save(name, File(file))
    path.unlink()
    return stored


def sync_folder(folder: Path) -> None:
    """Make the names in a local folder survive a loss of power, as their bytes do."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def store_folder(folder: Path, name: str) -> str:
    """Copy a local folder's files under a stored name; returns that name."""
    place = local_path(name)
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(place.name + ".part")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(folder, temporary)
        if place.exists():
            shutil.rmtree(place)
        temporary.rename(place)
        return name
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        inside = f"{name}/{path.relative_to(folder).as_posix()}"
        if default_storage.exists(inside):
            default_storage.delete(inside)
        with path.open("rb") as file:
            default_storage.save(inside, File(file))
    return name


def fetch_folder(
    name: str, place: Path, alive: Callable[[], None] = lambda: None
) -> Path:
    """A stored folder as a local one: itself, or copied once to `place`, whole or not.

    `alive` is called after each file.
    """
    if local := local_path(name):
        return local
    if place.is_dir():
        return place
    part = place.with_name(place.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for inside in folder_files(name):
        copy = part / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        with default_storage.open(f"{name}/{inside}") as source, copy.open("wb") as out:
            shutil.copyfileobj(source, out)
        alive()
    part.rename(place)
    return place


def with_file(folder: str, inside: str, place: Path) -> Path:
    """A local folder in which a stored folder's file `inside` lies; fetched once to
    `place` out of an object store."""
    if local := local_path(folder):
        return local
    whole = place / inside
    if not whole.exists():
        place.mkdir(parents=True, exist_ok=True)
        part = whole.with_name(whole.name + ".part")
        with default_storage.open(f"{folder}/{inside}") as source:
            part.write_bytes(source.read())
        part.rename(whole)
    return place


def folder_files(name: str) -> list[str]:
    """Names, relative to it, of all files of a stored folder."""
    found = []
    folders, files = default_storage.listdir(name)
    found.extend(files)
    for folder in folders:
        found.extend(
            f"{folder}/{inside}" for inside in folder_files(f"{name}/{folder}")
        )
    return sorted(found)


def remove(name: str) -> None:
    """Delete a stored file or folder; one that is gone already is fine."""
    if (place := local_path(name)) is not None:
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        return
    for inside in folder_files(name):
        default_storage.delete(f"{name}/{inside}")
    default_storage.delete(name)
