"""One base in memory for many adapters: one language each, swapped between answers.

Models made over the same base (Bactrian-X, Li et al. 2023, arXiv:2305.15011; LoRA Land,
Zhao et al. 2024, arXiv:2405.00732) need its weights once and some megabytes each. A
published model has its adapter and the base of that beside it:

    PLACE/model  PLACE/adapter  PLACE/base

Two bases are one where every file that makes answers has the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from training import families
from training.generate import Generator

if TYPE_CHECKING:
    from peft import PeftModel

# What a base's answers depend on, beside the tokenizer that lies with each model.
FILES = ("*.safetensors", "config.json")


@dataclass(frozen=True)
class Parts:
    """An adapter and the base that it belongs to."""

    base: Path
    adapter: Path

    def same_base(self, other: Parts) -> bool:
        """Whether both adapters belong to the same weights. Files are only read where
        their names and sizes agree."""
        if self.base == other.base:
            return True
        if _sizes(self.base) != _sizes(other.base):
            return False
        return _digest(self.base) == _digest(other.base)


def parts_of(folder: Path) -> Parts | None:
    """Adapter and base beside a model's folder; None where they were not kept."""
    parts = Parts(folder.parent / "base", folder.parent / "adapter")
    whole = (parts.adapter / "adapter_config.json").is_file() and _sizes(parts.base)
    return parts if whole else None


def _files(base: Path) -> list[Path]:
    return sorted(path for pattern in FILES for path in base.glob(pattern))


def _sizes(base: Path) -> list[tuple[str, int]]:
    return [
        (path.name, path.stat().st_size)
        for path in _files(base)
        if path.suffix == ".safetensors"
    ]


@lru_cache(maxsize=64)
def _digest(base: Path) -> str:
    """A published folder is never written again."""
    digests = []
    for path in _files(base):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return " ".join(digests)


class SharedBase:
    """A base and the adapters that are loaded over it, by the folders of their models."""

    def __init__(self, folder: Path, parts: Parts, device: str) -> None:
        from peft import PeftModel

        self.parts, self.device = parts, device
        base = families.load_model(parts.base, device=device)
        self.names: dict[Path, str] = {folder: "adapter-0"}
        self._made = 1
        self.model: PeftModel = PeftModel.from_pretrained(
            base, str(parts.adapter), adapter_name="adapter-0"
        )
        self.model.eval()
        self._tokenizers = {folder: families.load_tokenizer(folder)}

    def add(self, folder: Path, parts: Parts) -> None:
        """Load the adapter of another model."""
        name = f"adapter-{self._made}"
        self._made += 1
        self.model.load_adapter(
            str(parts.adapter), adapter_name=name, torch_device=self.device
        )
        self.model.eval()
        self.names[folder] = name
        self._tokenizers[folder] = families.load_tokenizer(folder)

    def remove(self, folder: Path) -> None:
        """Give an adapter back; the last one goes with the base."""
        name = self.names.pop(folder)
        del self._tokenizers[folder]
        if self.names:
            self.model.set_adapter(next(iter(self.names.values())))
            self.model.delete_adapter(name)

    def generator(self, folder: Path) -> Generator:
        """The model of that folder, ready to write, until another one is asked for."""
        self.model.set_adapter(self.names[folder])
        return Generator(self.model, self._tokenizers[folder])
