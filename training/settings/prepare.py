"""CONTRACT: settings of the stage prepare. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.settings.setting import StageSettings, setting


@dataclass(frozen=True)
class Prepare(StageSettings):
    """Check the inputs, hold text out, measure the base."""

    stage: ClassVar[str] = "prepare"

    held_out_share: float = setting(
        0.04,
        "Held-out share",
        "Part of each corpus that the model never learns from; the report is made on it.",
        low=0.001,
        high=0.5,
    )
    held_out_characters: int = setting(
        60_000,
        "Held-out characters at most",
        "No more than this is held out of each corpus.",
        unit="characters",
        low=1_000,
        high=10_000_000,
    )
    validation_share: float = setting(
        0.02,
        "Validation share",
        "Part of each corpus that draws the curves while the model learns.",
        low=0.001,
        high=0.5,
    )
    validation_characters: int = setting(
        20_000,
        "Validation characters at most",
        "No more than this is used for the curves.",
        unit="characters",
        low=1_000,
        high=1_000_000,
    )
    chunk_characters: int = setting(
        400,
        "Chunk of text",
        "Bits per byte are measured on pieces of this many characters, the same for "
        "every tokenizer.",
        unit="characters",
        low=50,
        high=8_000,
        source="fixed character chunks: a denser tokenizer must not see more text",
    )
    romanise: str = setting(
        "none",
        "Write the language in Latin letters",
        "uroman: for a script the base has never seen and little text. The model then "
        "reads and writes Latin letters only, what it is asked is written so too, and a "
        "table leads back, word by word.",
        choices=("none", "uroman"),
        source="Hermjakob et al. 2018; RomanSetu",
    )
