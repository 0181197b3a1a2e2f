"""The examples of a tuning: what was asked and answered, and plain text beside it.

What a community has becomes instructions in `training/data/builders/`. Plain text of both
languages is mixed in against forgetting (Stap et al. 2024, arXiv:2405.20089).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from training.data.builders import Builder, builders
from training.data.builders.material import Material
from training.data.builders.mixing import choose_instructions, mix, origins
from training.data.conversations import Message
from training.data.passages import cut

# Half of the plain text is protected. One run each on the bundled example, 110 steps:
# a share of 0.2 with a quarter protected ended at 1.444 bits per byte of English (1.353
# before) and 2.458 of Swahili, a share of 0.3 with a half at 1.428 and 2.449; the first
# ran in bfloat16, the second in float32.
PROTECTED_SHARE_OF_TEXT = 0.5
SHORTEST_TEXT_CHARACTERS = 40
# Origins of examples made from parallel text that ask for a translation.
TRANSLATIONS = ("translations", "few_shot")


@dataclass(frozen=True)
class Mixture:
    """How much of what: shares of the answered examples by builder, of plain text in all
    examples, of protected text in that; which instruction rows (mixing.py)."""

    shares: dict[str, float] = field(default_factory=dict)
    raw_text_share: float = 0.0
    protected_text_share: float = PROTECTED_SHARE_OF_TEXT
    source_language_share: float = 1.0
    target_rows: int = 0


@dataclass
class Examples:
    """Turns to answer with their origins, and plain text."""

    chats: list[list[Message]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.chats) + len(self.texts)

    def by_origin(self) -> dict[str, int]:
        """How many examples come from where; plain text counts as "texts"."""
        pairs = list(zip(self.chats, self.origins, strict=True))
        return origins(pairs) | ({"texts": len(self.texts)} if self.texts else {})


def text_pieces(texts: Iterable[str], characters: int) -> Iterator[str]:
    """Texts in pieces of at most `characters`, cut at lines, sentences or words."""
    pieces = (piece.strip() for text in texts for piece in cut(text, characters))
    return (piece for piece in pieces if len(piece) >= SHORTEST_TEXT_CHARACTERS)


def build_examples(
    material: Material,
    mixture: Mixture,
    *,
    target_texts: list[str],
    protected_texts: list[str],
    seed: int,
    ways: dict[str, Builder] | None = None,
) -> Examples:
    """Mix instructions, what the builders make and plain text by their shares.

    With nothing to answer the result is empty: plain text alone teaches no answering.
    """
    dice = random.Random(seed)  # noqa: S311 - which wording is drawn is no secret
    rows = choose_instructions(
        material.instructions,
        target=material.target,
        source=material.protected,
        source_share=mixture.source_language_share,
        target_rows=mixture.target_rows,
        dice=dice,
    )
    answered = mix(material, rows, mixture.shares, ways or builders(), dice)
    share = mixture.raw_text_share
    wanted = round(len(answered) * share / max(0.1, 1 - share))
    texts = _mixed_texts(
        target_texts, protected_texts, wanted, mixture.protected_text_share, dice
    )
    counts = {
        "instructions": len(rows),
        "translations": sum(origin in TRANSLATIONS for _, origin in answered),
        "texts": len(texts),
    }
    return Examples(
        [turns for turns, _ in answered], texts, [o for _, o in answered], counts
    )


def _mixed_texts(
    target: list[str],
    protected: list[str],
    wanted: int,
    protected_share: float,
    dice: random.Random,
) -> list[str]:
    """Up to `wanted` pieces, `protected_share` of them protected where there are so
    many; the others are of the target language."""
    second = min(len(protected), round(wanted * protected_share))
    first = min(len(target), wanted - second)
    return dice.sample(target, first) + dice.sample(protected, second)
