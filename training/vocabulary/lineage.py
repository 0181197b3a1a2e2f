"""The new and the carried tokens of a model, told in the ids of the job's base.

A job may change the vocabulary more than once (prune to make room, then extend). What
each stage writes covers all before it: later stages compare with the base alone.

vocabulary.json    the new tokens, by id: text, piece, occurrences, base_ids
kept.json          new id -> base id of carried rows; absent where no id moved
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.vocabulary.change import Change
from training.vocabulary.extension import NewToken


@dataclass(frozen=True)
class Lineage:
    """New tokens as they stand in vocabulary.json, and carried ids (None: all)."""

    tokens: list[dict[str, Any]]
    kept: dict[int, int] | None = None

    @classmethod
    def read(cls, folder: Path | None) -> Lineage:
        """What a finished stage wrote; without one, the base: nothing is new."""
        if folder is None:
            return cls([])
        tokens = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        path = folder / "kept.json"
        if not path.is_file():
            return cls(tokens)
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(tokens, {int(new): old for new, old in kept.items()})

    def after(self, change: Change) -> Lineage:
        """The lineage when a change was made to this one's tokenizer."""
        new = {token["id"]: token for token in self.tokens}

        def base_ids(id_: int) -> list[int]:
            if id_ in new:
                return list(new[id_]["base_ids"])
            if self.kept is None:
                return [id_]
            return [self.kept[id_]] if id_ in self.kept else []

        added = [
            {
                **_plain(token),
                "base_ids": [old for id_ in token.base_ids for old in base_ids(id_)],
            }
            for token in change.tokens
        ]
        if change.kept is None:
            return Lineage(self.tokens + added, self.kept)
        stayed = [
            {**new[old], "id": id_} for id_, old in change.kept.items() if old in new
        ]
        kept = {
            id_: base_ids(old)[0]
            for id_, old in change.kept.items()
            if old not in new and base_ids(old)
        }
        return Lineage(sorted(stayed + added, key=lambda token: token["id"]), kept)

    def write(self, folder: Path) -> None:
        """Write both files."""
        _write(folder / "vocabulary.json", self.tokens)
        if self.kept is not None:
            _write(folder / "kept.json", self.kept)


def _plain(token: NewToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "text": token.text,
        "piece": token.piece,
        "occurrences": token.occurrences,
    }


def _write(path: Path, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
