"""A storage of names and contents, without paths or folders, as an object store is."""

from __future__ import annotations

from typing import Any

from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage


class ObjectStore(Storage):
    """Keeps its objects in memory; `path` is not implemented."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        if name not in self.objects:
            raise FileNotFoundError(name)
        return ContentFile(self.objects[name])

    def _save(self, name: str, content: File[Any]) -> str:
        self.objects[name] = content.read()
        return name

    def exists(self, name: str) -> bool:
        return name in self.objects

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Folders and files under a prefix; a prefix without objects is empty."""
        inside = [
            name.removeprefix(f"{path}/")
            for name in self.objects
            if name.startswith(f"{path}/")
        ]
        folders = {name.split("/")[0] for name in inside if "/" in name}
        return sorted(folders), [name for name in inside if "/" not in name]
