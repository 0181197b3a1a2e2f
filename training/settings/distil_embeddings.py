"""CONTRACT: settings of the stage distil_embeddings. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.settings import pace
from training.settings.setting import StageSettings, setting


@dataclass(frozen=True)
class DistilEmbeddings(StageSettings):
    """Teach the rows of new tokens what the base makes of the pieces they replace."""

    stage: ClassVar[str] = "distil_embeddings"

    objective: str = setting(
        "distil",
        "What the new rows learn from",
        "distil: from what the base model makes of the same text in its old pieces. "
        "next_token: from predicting the text alone. Nothing but the new rows changes.",
        choices=("distil", "next_token"),
        source="token distillation: Dobler et al. 2025; next_token is its control",
    )
    snippets: int = setting(
        25,
        "Snippets of each new token",
        "How many pieces of text that hold the token are looked for.",
        unit="snippets",
        low=1,
        high=10_000,
        source="Dobler et al. 2025",
    )
    snippet_tokens: int = setting(
        50,
        "Length of a snippet",
        "In tokens of the new tokenizer; the base reads the same characters.",
        unit="tokens",
        low=4,
        high=4_096,
        source="Dobler et al. 2025",
    )
    layer_share: float = setting(
        0.33,
        "Layer that is compared",
        "As a part of the model's depth; 1 is the last layer. An early one is cheaper.",
        low=0.01,
        high=1.0,
        source="GlossAPI: layer 11 of 32 better than the last, 1.385 and 1.425",
        acts={"objective": ("distil",)},
    )
    minutes: float = pace.minutes(3.0)
    steps: int = pace.steps("minutes and the passes")
    epochs: float = setting(
        1.0,
        "Passes over the snippets at most",
        "Very small models need more than one.",
        unit="passes",
        low=0.01,
        high=1_000,
        source="Dobler et al. 2025",
        acts={"steps": (0,)},
    )
    batch_snippets: int = setting(
        16,
        "Snippets a step",
        "The effective batch.",
        unit="snippets",
        low=1,
        high=65_536,
        source="Dobler et al. 2025",
    )
    learning_rate: float = setting(
        0.0,
        "Peak learning rate",
        "0: from the width of the model, 1e-4 at 2,048.",
        low=0.0,
        high=0.1,
        source="Dobler et al. 2025: 1e-4",
    )
    evaluations: int = pace.evaluations(4)
    checkpoint_minutes: float = pace.checkpoint_minutes()
