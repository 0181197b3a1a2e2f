"""The picture on a model's card: one sentence under the base and under the model."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.bases.ribbon import Ribbon, make_ribbon
from webapp.bases.selectors import tokenizer_folder as base_folder
from webapp.core.errors import Refusal
from webapp.models.models import Model
from webapp.models.selectors import tokenizer_folder
from webapp.targets.selectors import newest_versions
from webapp.targets.specimens import shorten, specimen


@dataclass(frozen=True)
class Ribbons:
    """A sentence of the model's language; a ribbon is None where it cannot be made."""

    text: str
    before: Ribbon | None
    after: Ribbon | None


def before_and_after(model: Model) -> Ribbons:
    """From the target's own text; where that is gone, from what the model was asked."""
    target = model.target
    text = specimen(newest_versions(target.datasets.all()), model.language)
    if not text:
        samples = model.report.get("samples") or [{}]
        text = shorten(samples[0].get("prompt", ""))
    try:
        folder = str(tokenizer_folder(model))
    except OSError:
        folder = ""  # the model's files are gone
    known = target.base.passport.get("vocabulary")
    return Ribbons(
        text=text,
        before=_ribbon(base_folder(target.base), text, None),
        after=_ribbon(folder, text, known),
    )


def _ribbon(folder: str, text: str, known: int | None) -> Ribbon | None:
    if not text or not folder:
        return None
    try:
        return make_ribbon(folder, text, known=known)
    except Refusal:
        return None
