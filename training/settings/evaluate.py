"""CONTRACT: settings of the stage evaluate. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.settings.setting import StageSettings, setting


@dataclass(frozen=True)
class Evaluate(StageSettings):
    """Measure the model as the base was measured, and write the report."""

    stage: ClassVar[str] = "evaluate"

    sample_tokens: int = setting(
        60,
        "Longest answer",
        "How far the model answers each fixed prompt.",
        unit="tokens",
        low=1,
        high=2_048,
    )
    temperature: float = setting(
        0.0,
        "Temperature of the answers",
        "0: always the likeliest next token, so that answers can be compared.",
        low=0.0,
        high=2.0,
    )
