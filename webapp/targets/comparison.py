"""How the tokenizers of a target cut its language: the base's, and each model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from webapp.bases.models import BaseModel
from webapp.bases.passport import cut
from webapp.bases.ribbon import Ribbon, count_words, make_ribbon
from webapp.bases.selectors import tokenizer_folder as base_folder
from webapp.core.errors import Refusal
from webapp.models.models import Model
from webapp.models.selectors import tokenizer_folder
from webapp.targets.specimens import Sample

MOST_MODELS = 8  # the newest; each costs a few milliseconds of cutting


@dataclass(frozen=True)
class Measure:
    """One language under one tokenizer."""

    characters_per_token: float
    tokens_per_word: float | None  # None where spaces do not part words
    tokens: int


@dataclass(frozen=True)
class Cutting:
    """One tokenizer: who has it, the specimen's ribbon, its figures on both languages.

    `factor`: how many times as many tokens the target needs as the protected language
    for the same content; None without translations.
    """

    names: list[str]
    models: list[Model]
    ribbon: Ribbon | None
    refusal: str
    target: Measure | None
    protected: Measure | None
    factor: float | None

    @property
    def has_new(self) -> bool:
        """Whether the ribbon shows a piece that the base does not have."""
        return bool(self.ribbon) and any(
            patch["kind"] == "new" for patch in self.ribbon.patches
        )


def cuttings(
    base: BaseModel, models: Sequence[Model], specimen: str, sample: Sample
) -> list[Cutting]:
    """The base's cutting, then the models', newest first; equal ones are given once."""
    found = [_cutting([base.name], [], base_folder(base), None, specimen, sample)]
    known = base.passport.get("vocabulary")
    for model in models[:MOST_MODELS]:
        try:
            folder = str(tokenizer_folder(model))
        except OSError:
            continue  # the model's files are gone; its card says so
        new = _cutting([model.name], [model], folder, known, specimen, sample)
        for earlier in found:
            if (earlier.ribbon, earlier.target) == (new.ribbon, new.target):
                earlier.names.append(model.name)
                earlier.models.append(model)
                break
        else:
            found.append(new)
    return found


def measure(folder: str, text: str) -> Measure | None:
    """Figures of a tokenizer on a text; None without text or tokenizer."""
    path = Path(folder) / "tokenizer.json"
    if not text or not path.is_file():
        return None
    tokens = _count(folder, path.stat().st_mtime, text)
    words = count_words(text)
    return Measure(
        characters_per_token=len(text) / tokens if tokens else 0.0,
        tokens_per_word=tokens / words if words else None,
        tokens=tokens,
    )


@lru_cache(maxsize=256)
def _count(folder: str, stamp: float, text: str) -> int:
    """Tokens of a text; `stamp` is the time of the tokenizer's file."""
    return len(cut(folder, text))


def _cutting(
    names: list[str],
    models: list[Model],
    folder: str,
    known: int | None,
    specimen: str,
    sample: Sample,
) -> Cutting:
    try:
        ribbon = make_ribbon(folder, specimen, known=known) if specimen else None
        target = measure(folder, sample.target)
        protected = measure(folder, sample.protected)
    except Refusal as refusal:
        return Cutting(names, models, None, refusal.sentence, None, None, None)
    factor = None
    if sample.paired and target and protected and protected.tokens:
        factor = target.tokens / protected.tokens
    return Cutting(names, models, ribbon, "", target, protected, factor)
