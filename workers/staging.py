"""The files of a job, brought to where the engine can open them.

On a local disk nothing is copied. From an object store every file is written once into
the run's `inputs/` under its hash, checked on the way, and used again by later attempts.
The engine checks the hashes of what it opens in either case (training/run.py).
"""

from __future__ import annotations

import copy
import hashlib
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from django.core.files.storage import default_storage
from django.utils.translation import gettext as _

from training import manifest
from training.errors import InputMissing
from webapp.core import files

PIECE_BYTES = 1024 * 1024


def stage_spec(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A copy of a job's spec whose paths are files and folders of this machine.

    Raises InputMissing where one is not there or has other contents than stated.
    """
    staged = copy.deepcopy(spec)
    staged["base"] = str(stage_folder(spec["base"], folder))
    for corpora in staged["data"].values():
        for corpus in corpora:
            name, sha256 = corpus["path"], corpus.get("sha256", "")
            corpus["path"] = str(stage_file(name, sha256, folder))
    given = staged.get("resources") or {}
    for resource in ("instruct", "donor"):
        if given.get(resource):
            given[resource] = str(stage_folder(given[resource], folder))
    given["models"] = [str(stage_folder(m, folder)) for m in given.get("models") or ()]
    for resource in ("target_vectors", "base_vectors"):
        if given.get(resource):
            given[resource] = str(stage_file(given[resource], "", folder))
    staged["resources"] = given
    return staged


def stage_file(name: str, sha256: str, folder: Path) -> Path:
    """The local path of a storage file; an absolute path is already one."""
    if Path(name).is_absolute():
        return Path(name)
    local = files.local_path(name)
    if local is not None:
        return local
    key = sha256 or hashlib.sha256(name.encode()).hexdigest()
    path = folder / f"{key}{PurePosixPath(name).suffix}"
    if not path.exists():
        _download(name, sha256, path)
    return path


def stage_folder(name: str, folder: Path) -> Path:
    """The local path of a storage folder; an absolute path is already one."""
    if Path(name).is_absolute():
        return Path(name)
    local = files.local_path(name)
    if local is not None:
        return local
    final = folder / hashlib.sha256(name.encode()).hexdigest()
    if not final.exists():
        temporary = final.with_name(final.name + ".part")
        shutil.rmtree(temporary, ignore_errors=True)
        for inside in files.folder_files(name):
            _download(f"{name}/{inside}", "", temporary / inside)
        if not temporary.exists():
            raise InputMissing(_("The model %s is not there.") % name)
        if (temporary / manifest.NAME).exists() and not manifest.is_whole(temporary):
            raise InputMissing(_("The files of the model %s are damaged.") % name)
        temporary.rename(final)
    return final


def _download(name: str, sha256: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    digest = hashlib.sha256()
    try:
        with default_storage.open(name) as source, temporary.open("wb") as target:
            while piece := source.read(PIECE_BYTES):
                digest.update(piece)
                target.write(piece)
    except FileNotFoundError:
        raise InputMissing(_("The dataset file %s is not there.") % name) from None
    if sha256 and digest.hexdigest() != sha256:
        temporary.unlink()
        raise InputMissing(
            _("The dataset file %s has changed since the launch.") % name
        )
    temporary.rename(path)
