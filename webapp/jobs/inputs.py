"""What a job starts from: versions of datasets by role, the situation, fixed prompts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from training.spec import Corpus, Data, Resources, service_is_named
from webapp.bases.passport import cut
from webapp.bases.selectors import tokenizer_folder
from webapp.core.errors import Refusal
from webapp.core.languages import same_language
from webapp.datasets.models import Dataset, DatasetVersion, Kind
from webapp.datasets.reading.figures import row_text
from webapp.datasets.selectors import longest, newest_ready
from webapp.jobs import history
from webapp.jobs.models import Host
from webapp.jobs.planning import constants as c
from webapp.jobs.planning.situation import RowLengths, Situation
from webapp.jobs.roles import role_of
from webapp.targets.models import LanguageTarget

QUESTIONS, OPENINGS = 3, 2  # fixed prompts of each sort
OPENING_WORDS, OPENING_CHARACTERS = 6, 60
QUESTION_CHARACTERS = 300
HOST_GONE = timedelta(days=1)  # a job may wait for one that is only being repaired
TRIED_CHARACTERS = 4_000  # how much text the base's tokenizer is tried on


@dataclass
class Inputs:
    """Ready versions by role, in the order in which their datasets were made."""

    target: list[DatasetVersion] = field(default_factory=list)
    protected: list[DatasetVersion] = field(default_factory=list)
    parallel: list[DatasetVersion] = field(default_factory=list)
    instructions: list[DatasetVersion] = field(default_factory=list)
    preferences: list[DatasetVersion] = field(default_factory=list)
    related: list[DatasetVersion] = field(default_factory=list)
    dictionary: list[DatasetVersion] = field(default_factory=list)
    resources: Resources = field(default_factory=Resources)

    def data(self) -> Data:
        """As the spec of a job names them; paths are names in the storage."""
        roles = [role.name for role in fields(Data)]
        return Data(**{role: _corpora(getattr(self, role)) for role in roles})

    def available(self) -> frozenset[str]:
        """What there is, in the words of a recipe's needs."""
        held = {role.name for role in fields(Data) if getattr(self, role.name)}
        given = {name for name, value in vars(self.resources).items() if value}
        return frozenset(held | given)


def gather(target: LanguageTarget, chosen: Iterable[str] | None = None) -> Inputs:
    """The newest ready version of each dataset of a target.

    `chosen` narrows the target's own datasets by id. Raises Refusal where a dataset has
    no ready version.
    """
    wanted = None if chosen is None else {str(id) for id in chosen}
    inputs = Inputs()
    for dataset in target.datasets.filter(deleted_at=None).order_by("created_at"):
        if wanted is not None and str(dataset.id) not in wanted:
            continue
        version = ready(dataset)
        if role := role_of(dataset, version, target.language):
            getattr(inputs, role).append(version)
    for dataset in target.protected.filter(deleted_at=None).order_by("created_at"):
        if dataset.kind == Kind.MONOLINGUAL:
            inputs.protected.append(ready(dataset))
    return inputs


def ready(dataset: Dataset) -> DatasetVersion:
    """The version to learn from; a Refusal where there is none."""
    version = newest_ready(dataset)
    if version is None:
        raise Refusal(
            _("The dataset “%(name)s” is not ready: wait until it has been read.")
            % {"name": dataset.name},
            field="datasets",
        )
    return version


def situation_of(
    target: LanguageTarget, inputs: Inputs, *, minutes: float, goal: str
) -> Situation:
    """What the plan is made from."""
    return Situation(
        passport=target.base.passport,
        final_learning_rate=target.base.final_learning_rate or 0.0,
        language=target.language,
        target_bytes=sum(_text_bytes(version) for version in inputs.target),
        target_characters=sum(version.characters for version in inputs.target),
        protected_bytes=sum(_text_bytes(version) for version in inputs.protected),
        parallel_rows=sum(map(_different, inputs.parallel)),
        instruction_rows=sum(map(_different, inputs.instructions)),
        preference_rows=sum(map(_different, inputs.preferences)),
        dictionary_rows=sum(version.documents for version in inputs.dictionary),
        related_bytes=sum(_text_bytes(version) for version in inputs.related),
        available=inputs.available() | _services(),
        minutes=minutes,
        goal=goal,
        characters_per_token=characters_per_token(
            tokenizer_folder(target.base), inputs.target
        ),
        rows_of_examples=tuple(row_lengths(target, inputs)),
        devices=known_devices(target.base_id),
        seconds_per_example=history.seconds_per_example(target.base_id),
    )


def row_lengths(target: LanguageTarget, inputs: Inputs) -> Iterator[RowLengths]:
    """Of what is asked and answered, as the base's tokenizer cuts the first rows."""
    folder = tokenizer_folder(target.base)
    for role in ("parallel", "instructions", "preferences", "dictionary"):
        for version in getattr(inputs, role):
            text = "\n".join(row_text(row) for row in version.preview)
            per_token = _per_token(folder, text) or c.GUESSED_CHARACTERS_PER_TOKEN
            tags = version.dataset.languages
            taught = [tag for tag in tags if same_language(tag, target.language)]
            yield RowLengths(
                role=role,
                longest=math.ceil(longest(version.statistics) / per_token),
                taught=len(taught) / len(tags) if tags else 0.0,
            )


def known_devices(base_id: UUID | None = None) -> tuple[dict[str, Any], ...]:
    """Devices of the hosts that take jobs, not of those long gone; with what earlier
    jobs on a base took there (history.paces)."""
    paces = history.paces(base_id) if base_id else {}
    here = _hosts().values_list("id", "devices")
    return tuple(device | paces.get(id, {}) for id, found in here for device in found)


def _services() -> frozenset[str]:
    """Whether one that writes is named on a host, or here, where `manage.py adapt` starts
    a worker with what it has itself."""
    named = service_is_named() or _hosts().filter(has_service=True).exists()
    return frozenset({"service"} if named else ())


def _hosts() -> QuerySet[Host]:
    gone = timezone.now() - HOST_GONE
    return Host.objects.filter(drained=False).exclude(seen_at__lt=gone)


def characters_per_token(
    folder: str, versions: Sequence[DatasetVersion]
) -> float | None:
    """What the base's tokenizer makes of the first text; None where it cannot be read."""
    return _per_token(folder, "\n".join(documents(versions)))


def _per_token(folder: str, text: str) -> float | None:
    text = text[:TRIED_CHARACTERS]
    try:
        pieces = cut(folder, text)
    except Exception:  # noqa: BLE001 tokenizers raises bare Exception for what it refuses
        return None
    return len(text) / len(pieces) if pieces else None


def prompts(inputs: Inputs) -> tuple[str, ...]:
    """Questions and openings out of the person's own data, for any language."""
    return tuple(dict.fromkeys([*_questions(inputs), *_openings(inputs)]))


def documents(versions: Sequence[DatasetVersion]) -> list[str]:
    """The previewed documents of monolingual versions."""
    return [row["text"] for v in versions for row in v.preview if row.get("text")]


def _questions(inputs: Inputs) -> list[str]:
    asked = []
    for version in inputs.instructions:
        for row in version.preview:
            said = [m["content"] for m in row["messages"] if m["role"] == "user"]
            if said and len(said[0]) <= QUESTION_CHARACTERS:
                asked.append(said[0].strip())
    return list(dict.fromkeys(asked))[:QUESTIONS]


def _openings(inputs: Inputs) -> list[str]:
    """First words of documents; in scripts without spaces the first characters."""
    openings = []
    for text in documents(inputs.target):
        words = " ".join(text.split()[:OPENING_WORDS])
        opening = words if len(words) <= OPENING_CHARACTERS else text.strip()[:20]
        if opening and len(opening) < len(text.strip()):
            openings.append(opening)
    return list(dict.fromkeys(openings))[:OPENINGS]


def _corpora(versions: Sequence[DatasetVersion]) -> tuple[Corpus, ...]:
    return tuple(
        Corpus(
            path=version.rows_file,
            kind=version.dataset.kind,
            languages=tuple(version.dataset.languages),
            sha256=version.sha256,
            name=version.dataset.name,
        )
        for version in versions
    )


def _different(version: DatasetVersion) -> int:
    """Rows, those that come again counted once: they teach nothing more."""
    return version.documents - int(version.statistics.get("duplicates") or 0)


def _text_bytes(version: DatasetVersion) -> int:
    return int(version.statistics.get("bytes") or version.rows_bytes)
