"""A base as the formula of memory sees it: its shape, and the rows that a job adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.spec import Shape, shape_of
from webapp.jobs.planning import constants as c


@dataclass(frozen=True)
class Base:
    """A base as the formula sees it; `added` are the rows that a job will add."""

    shape: Shape
    parameters: int
    rows: int
    matrices: int
    added: int = 0

    @property
    def row_numbers(self) -> int:
        """Numbers of the input and output matrices."""
        return self.rows * self.shape.width * self.matrices


def base_of(passport: Mapping[str, Any], new_rows: int = 0) -> Base:
    """From a passport; what an old or empty one lacks is guessed from the size."""
    parameters = int(passport.get("parameters") or c.MILLION)
    rows = int(passport.get("rows") or passport.get("vocabulary") or 32_000)
    matrices = 1 if passport.get("tied") else 2
    width = int(passport.get("width") or max(1, (parameters / 12) ** 0.4))
    layers = int(passport.get("layers") or 12)
    body = max(1, parameters - rows * width * matrices)
    # Attention has four matrices of the width, a gated feed-forward part three.
    wide = max(width, int((body / layers - 4 * width**2) / (3 * width)))
    shape = shape_of(
        {
            "hidden_size": width,
            "num_hidden_layers": layers,
            "intermediate_size": passport.get("feed_forward") or wide,
            "num_attention_heads": passport.get("heads") or 1,
            "num_key_value_heads": 1,
            "head_dim": passport.get("key_width") or width,
            "model_type": passport.get("model_type"),
        }
    )
    return Base(
        shape=shape,
        parameters=parameters + new_rows * width * matrices,
        rows=rows + new_rows,
        matrices=matrices,
        added=new_rows,
    )
