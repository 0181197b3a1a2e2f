"""A stored folder as a ZIP that is sent while it is made.

Nothing is written to disk and no file is held in memory: the archive's writer appends to a
sink that is emptied after every block. Files are stored, not deflated, because weights do
not shrink; sizes above 4 GB are written as ZIP64.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from asgiref.sync import sync_to_async
from django.core.files.storage import default_storage
from django.utils.translation import gettext as _

from webapp.core import files
from webapp.core.errors import Refusal

BLOCK_BYTES = 1024**2
CONFIGS = {"config.json", "adapter_config.json"}
INDEX = "model.safetensors.index.json"


class Sink:
    """What zipfile writes to: a file that only goes forward, emptied by `taken`."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []

    def write(self, block: bytes) -> int:
        """Keep a block until it is taken."""
        self.blocks.append(bytes(block))
        return len(block)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        """Everything written since the last time."""
        blocks, self.blocks = self.blocks, []
        return b"".join(blocks)


def zip_folder(folder: str, root: str, written: dict[str, bytes]) -> Iterator[bytes]:
    """The blocks of a ZIP with a stored folder's files under `root`.

    `written` holds files made for the archive; they replace stored ones of their name.
    """
    sink = Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[arg-type]
        for name, content in written.items():
            with archive.open(_entry(f"{root}/{name}"), "w") as entry:
                entry.write(content)
            yield sink.taken()
        for name in files.folder_files(folder):
            if name in written:
                continue
            with (
                default_storage.open(f"{folder}/{name}") as source,
                archive.open(_entry(f"{root}/{name}"), "w", force_zip64=True) as entry,
            ):
                while block := source.read(BLOCK_BYTES):
                    entry.write(block)
                    yield sink.taken()
            yield sink.taken()
    yield sink.taken()


def refuse_incomplete(folder: str) -> None:
    """Raise Refusal unless a stored model (or adapter) has its weights and says what it
    is: an archive that breaks off, or that nothing can load, tells nobody why."""
    try:
        names = set(files.folder_files(folder))
        missing = _missing(folder, names)
    except OSError:
        missing = ["config.json"]
    if missing:
        raise Refusal(
            _(
                "The model's files are not complete in the storage any more: %(files)s "
                "is missing. Bring them back from a copy, or train the model again."
            )
            % {"files": ", ".join(missing[:3])}
        )


def _missing(folder: str, names: set[str]) -> list[str]:
    missing = []
    if not names & CONFIGS:
        missing.append("config.json")
    wanted = {"*.safetensors"} - {"*" + Path(name).suffix for name in names}
    if INDEX in names:
        with default_storage.open(f"{folder}/{INDEX}") as file:
            wanted |= set(json.load(file)["weight_map"].values()) - names
    return missing + sorted(wanted)


async def in_threads(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same blocks for an ASGI server, which would otherwise collect them all first."""
    step = sync_to_async(next, thread_sensitive=False)
    while (block := await step(blocks, None)) is not None:
        yield block


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry that everybody may read, of today."""
    entry = zipfile.ZipInfo(name, time.localtime()[:6])
    entry.external_attr = 0o644 << 16
    return entry
