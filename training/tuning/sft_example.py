"""One example of a tuning as numbers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Example:
    """Ids and labels of one example and the bytes of text behind it; where several are
    packed into one, `documents` numbers the one each token belongs to. `revised` is 1
    at the labels that the model may revise (training/self_correction.py); none: nowhere.
    """

    input_ids: list[int]
    labels: list[int]
    bytes: int
    documents: list[int] = field(default_factory=list)
    revised: list[int] = field(default_factory=list)
