"""CONTRACT: settings of the stage extend_vocabulary. Standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from training.settings.initialisations import INITIALISATIONS
from training.settings.needs import Needs
from training.settings.setting import StageSettings, setting

# Methods that give the tokenizer pieces, and the model rows.
NEW_PIECES = ("continued_bpe", "append", "replace")


@dataclass(frozen=True)
class ExtendVocabulary(StageSettings):
    """Give the tokenizer pieces of the language and the model rows for them."""

    stage: ClassVar[str] = "extend_vocabulary"

    method: str = setting(
        "continued_bpe",
        "Method",
        "continued_bpe: go on training the base's own merges on your text. append: train "
        "a vocabulary on your text and add its pieces below the old ones. replace: a new "
        "vocabulary from your text and the protected one. prune: take pieces out that "
        "neither uses. keep: keep the tokenizer.",
        choices=("continued_bpe", "append", "replace", "prune", "keep"),
        source="Purason et al. 2025: no unreachable token",
    )
    new_tokens: int = setting(
        1_500,
        "New tokens at most",
        "How many pieces are added. More make text shorter and need more text to learn.",
        unit="tokens",
        low=0,
        high=128_000,
        acts={"method": ("continued_bpe", "append")},
    )
    size: str = setting(
        "fixed",
        "How many of them",
        "For continued_bpe. fixed: as many as there may be. auto: the first size where "
        "the next 1,024 make held-out text less than 1 % shorter. "
        "average_log_probability: where they make its words less than 1 % more "
        "probable. Never more than the limit.",
        choices=("fixed", "auto", "average_log_probability"),
        source="auto: GlossAPI's sweep of 33 tokenizers; average_log_probability: "
        "UniBridge, Pham et al. 2024",
        acts={"method": ("continued_bpe",)},
    )
    minimum_occurrences: int = setting(
        8,
        "Occurrences at least",
        "A piece seen less often than this in your text is not added.",
        unit="occurrences",
        low=1,
        high=100_000,
        acts={"method": NEW_PIECES},
    )
    maximum_characters: int = setting(
        16,
        "Longest piece",
        "No new piece is longer than this.",
        unit="characters",
        low=2,
        high=64,
        source="SentencePiece's default",
        acts={"method": NEW_PIECES},
    )
    junk: str = setting(
        "skip",
        "Residue in the text",
        "skip: no piece is learned from web addresses, markup, glyph names and wrongly "
        "decoded text; the next most frequent takes its place. keep: as it is.",
        choices=("skip", "keep"),
        source="GlossAPI's curation",
        acts={"method": ("continued_bpe",)},
    )
    sampling_exponent: float = setting(
        1.0,
        "Sampling exponent",
        "Where the text names several languages: 1 counts their words as they are, less "
        "favours the small ones.",
        low=0.0,
        high=1.0,
        source="Lample and Conneau 2019; XLM-R takes 0.3",
        acts={"method": ("continued_bpe",)},
    )
    least_language_share: float = setting(
        0.0,
        "Least share of a language",
        "Each language gets about this share of the new tokens, as far as its text goes.",
        unit="share",
        low=0.0,
        high=0.5,
        acts={"method": ("continued_bpe",)},
    )
    vocabulary_size: int = setting(
        0,
        "Size of a replaced vocabulary",
        "For replace: pieces of the new vocabulary, all together. 0: as many as before.",
        unit="tokens",
        low=0,
        high=512_000,
        acts={"method": ("replace",)},
    )
    protected_share: float = setting(
        0.25,
        "Protected text in a replaced vocabulary",
        "For replace: the share of the words that the new vocabulary is trained on which "
        "are of the protected text.",
        low=0.0,
        high=0.9,
        source="the share of replay while reading on",
        acts={"method": ("replace",)},
    )
    prune_scripts: str = setting(
        "unused",
        "Take out scripts",
        "For prune: unused takes out the pieces in scripts that neither your text nor the "
        "protected one is written in; Latin letters always stay. none: all scripts stay.",
        choices=("unused", "none"),
        source="MAFT: Alabi et al. 2022",
        acts={"method": ("prune",)},
    )
    prune_tokens: int = setting(
        0,
        "Take out rare pieces",
        "For prune: how many of the pieces go that the two texts use least, after those "
        "of unused scripts.",
        unit="tokens",
        low=0,
        high=512_000,
        source="leaf-based pruning: Purason et al. 2025",
        acts={"method": ("prune",)},
    )
    special_ids: str = setting(
        "fixed",
        "Numbers of special tokens",
        "For prune: fixed leaves special tokens where they are. compact moves them too; "
        "needed to save memory where they come last in the vocabulary.",
        choices=("fixed", "compact"),
        acts={"method": ("prune",)},
    )
    initialisation: str = setting(
        "mean_first",
        "First values of the new rows",
        "What the rows of new tokens are before anything is learned.",
        choices=tuple(INITIALISATIONS),
        labels={name: way.label for name, way in INITIALISATIONS.items()},
        source="EEVE (mean in, first out); subtoken mean where rows are tied",
        needs={name: way.needs for name, way in INITIALISATIONS.items()},
        acts={"method": NEW_PIECES},
    )
    initialisation_rank: int = setting(
        0,
        "Rank of the factorisation",
        "For ofa and factorised. 0: as many dimensions as hold nine tenths of the old "
        "rows' variance.",
        unit="dimensions",
        low=0,
        high=16_384,
        source="OFA: 100 to 768",
        acts={"initialisation": ("ofa", "factorised")},
    )
    round_rows_to: int = setting(
        64,
        "Round the rows up to a multiple of",
        "Matrix kernels are faster on round sizes.",
        unit="rows",
        low=1,
        high=1_024,
    )

    def needs(self) -> Iterator[tuple[dataclasses.Field[Any], str, Needs]]:
        """Nothing where the tokenizer is kept or only loses tokens: no row is made."""
        return iter(()) if self.method in ("keep", "prune") else super().needs()
