"""Several examples in one row of a batch, none seeing another.

Positions restart with every example and the mask is block-diagonal, as in
training/data/packing.py. Without kernels for it the mask costs the square of the row:
worth it where examples are much shorter than the longest, or differ too much in length
for batches of like length.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from training.data.packing import IGNORED, attention_mask
from training.tuning.sft_example import Example


def pack(examples: Sequence[Example], limit: int, seed: int) -> list[Example]:
    """The examples in rows of at most `limit` tokens, each in the first of the last few
    rows that has room; their order is shuffled first. `documents` says which example a
    token belongs to."""
    order = list(examples)
    random.Random(seed).shuffle(order)  # noqa: S311 - the order is no secret
    open_rows: list[list[Example]] = []
    closed: list[list[Example]] = []
    for example in order:
        size = len(example.input_ids)
        for row in open_rows:
            if sum(len(e.input_ids) for e in row) + size <= limit:
                row.append(example)
                break
        else:
            open_rows.append([example])
            if len(open_rows) > 32:
                closed.append(open_rows.pop(0))
    return [_joined(row) for row in closed + open_rows]


def _joined(row: list[Example]) -> Example:
    return Example(
        [token for example in row for token in example.input_ids],
        # The first token of an example is predicted from nothing that it may see.
        [
            label if place else IGNORED
            for example in row
            for place, label in enumerate(example.labels)
        ],
        sum(example.bytes for example in row),
        [number for number, e in enumerate(row) for _ in e.input_ids],
        [m for e in row for m in marks(e)] if any(e.revised for e in row) else [],
    )


def marks(example: Example) -> list[int]:
    """Which of its labels the model may revise, for every token."""
    return example.revised or [0] * len(example.input_ids)


class MarkingCollator:
    """Another collator, beside whose tensors the marks of revised labels stand."""

    def __init__(self, collator: Callable[[list[Any]], dict[str, Any]]) -> None:
        self.collator = collator

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, Any]:
        """What it makes of rows that have "revised", with that [rows, longest]."""
        batch = self.collator(rows)
        longest = batch["input_ids"].shape[1]
        marked = [[*row["revised"]] + [0] * longest for row in rows]
        return {**batch, "revised": torch.tensor([one[:longest] for one in marked])}


class PackingCollator:
    """Rows of packed examples as a model reads them."""

    def __init__(self, pad: int, config: Any) -> None:
        """`config` is the model's: windows and the kind of attention."""
        self.pad, self.config = pad, config

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, Any]:
        """Tensors [rows, longest] and the mask; empty places have document -1."""
        longest = max(len(row["input_ids"]) for row in rows)

        def filled(name: str, value: int) -> torch.Tensor:
            return torch.tensor(
                [row[name] + [value] * (longest - len(row[name])) for row in rows]
            )

        documents = filled("documents", -1)
        attention = getattr(self.config, "_attn_implementation", None) or "sdpa"
        return {
            "input_ids": filled("input_ids", self.pad),
            "labels": filled("labels", IGNORED),
            "position_ids": _positions(documents),
            "attention_mask": attention_mask(documents, attention, self.config),
        }


def _positions(documents: torch.Tensor) -> torch.Tensor:
    """Places counted from the beginning of each document, [rows, tokens]."""
    places = torch.arange(documents.shape[1]).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return places - (places * begins).cummax(1).values
