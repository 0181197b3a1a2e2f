"""CONTRACT: what a choice needs from the job, and the refusal where it is absent.

A setting may say for some of its choices what they need: groups that must all be met,
each a tuple of places in the job ("data.parallel", "resources.donor") of which one is
enough. Pages read `field.metadata["needs"]`; the engine refuses before any work.
Standard library only.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from training.errors import MaterialMissing, TranslatorUnavailable

if TYPE_CHECKING:
    from training.settings.setting import StageSettings
    from training.spec import JobSpec

Needs = tuple[tuple[str, ...], ...]

# How the variables begin that name a service on the worker (data/chat_client.py).
SERVICE_PREFIX = "MOTHERTONGUE_TRANSLATOR_"
SERVICE = "worker.service"

# How each place of a job is called in a sentence.
NAMES = {
    "data.target": "text in the language",
    "data.protected": "text in the base's language",
    "data.parallel": "parallel text (sentences with their translations)",
    "data.dictionary": "a dictionary (words with their translations)",
    "data.related": "text in related languages",
    "data.instructions": "instructions",
    "data.preferences": "preferences",
    "resources.instruct": "the base's instruction-tuned sibling",
    "resources.donor": "a donor model whose tokenizer has the language",
    "resources.models": "models to merge with",
    "resources.target_vectors": "word vectors of the language",
    "resources.base_vectors": "word vectors of the base's language",
    SERVICE: "a service that writes, named on the worker",
}


def named(group: tuple[str, ...]) -> str:
    """The places of one group as words: "a dictionary or parallel text"."""
    return " or ".join(NAMES[place] for place in group)


def absent(needs: Needs, spec: JobSpec) -> list[tuple[str, ...]]:
    """The groups of which the job has nothing."""
    return [group for group in needs if not any(_has(spec, at) for at in group)]


def refuse_absent(spec: JobSpec) -> None:
    """Raise MaterialMissing, or TranslatorUnavailable where it is the service, for the
    first choice that lacks what it needs."""
    for settings in spec.stages:
        for field, choice, needs in settings.needs():
            missing = absent(needs, spec)
            if (SERVICE,) in missing:
                raise TranslatorUnavailable(
                    f"{field.metadata['label']}: {choice} needs a service that writes, and "
                    "none is named on this worker."
                )
            if missing:
                raise material_missing(field.metadata["label"], choice, missing)


def material_missing(
    label: str, choice: str, missing: list[tuple[str, ...]]
) -> MaterialMissing:
    """The refusal: which choice, what it lacks, what to add."""
    what = ", and ".join(named(group) for group in missing)
    return MaterialMissing(
        f"{label}: {choice} needs {what}, and the job has none.",
        hint=f"Add {what}, or choose another value for “{label}”.",
    )


def uses_service(stages: Iterable[StageSettings]) -> bool:
    """Whether a choice of these stages needs a service that writes."""
    return any((SERVICE,) in needs for stage in stages for *_, needs in stage.needs())


def service_is_named(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the operator names a service that writes, here."""
    return bool(environment.get(f"{SERVICE_PREFIX}URL"))


def _has(spec: JobSpec, place: str) -> bool:
    if place == SERVICE:
        return service_is_named()
    part, _, name = place.partition(".")
    holder: Any = getattr(spec, part)
    assert name in {field.name for field in dataclasses.fields(holder)}, place
    return bool(getattr(holder, name))
