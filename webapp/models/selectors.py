"""What pages ask about finished models."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.db.models import F, Q, QuerySet

from training.spec import Data
from webapp.bases.models import BaseModel
from webapp.core import files, languages
from webapp.datasets.models import DatasetVersion
from webapp.models.models import Model

SORTS = {"newest": "-created_at", "oldest": "created_at", "name": "name"}
# Every role of data, in the order in which a job reads them, what is protected last.
ROLES = (
    *(role.name for role in fields(Data) if role.name != "protected"),
    "protected",
)
INVENTED = "conversations.jsonl"
# Other models that a job takes from, beside its base.
RESOURCES = ("instruct", "donor", "models")


def search_models(
    models: QuerySet[Model],
    *,
    q: str = "",
    withdrawn: bool = False,
    sort: str = "newest",
) -> QuerySet[Model]:
    """Models with what a row of the list shows, in one query."""
    models = models.filter(withdrawn_at__isnull=not withdrawn)
    if q:
        tags = [found.tag for found in languages.find(q)]
        models = models.filter(
            Q(name__icontains=q)
            | Q(target__base__name__icontains=q)
            | Q(language__in=tags)
        )
    models = models.select_related("target__base", "job").defer("job__spec")
    return models.order_by(SORTS.get(sort, "-created_at"), "id")


@dataclass(frozen=True)
class Learned:
    """One dataset that a model learned from or was kept from forgetting with."""

    role: str
    name: str
    languages: list[str]
    version: DatasetVersion | None  # None where it was deleted for good
    sha256: str


def lineage(model: Model) -> list[Learned]:
    """The datasets that a model learned from by role, in one query."""
    data = model.job.spec.get("data") or {}
    corpora = [
        (role, corpus)
        for role in ROLES
        for corpus in data.get(role) or []
        if role != "preferences" or _learned_to_prefer(model)
    ]
    paths = [corpus.get("path", "") for _role, corpus in corpora]
    versions = {
        version.rows_file: version
        for version in DatasetVersion.objects.filter(
            rows_file__in=paths, dataset__workspace=model.workspace_id
        )
        .select_related("dataset")
        .defer("preview", "statistics", "problems", "guess")
    }
    return [
        Learned(
            role=role,
            name=corpus.get("name", ""),
            languages=list(corpus.get("languages") or []),
            version=versions.get(corpus.get("path", "")),
            sha256=corpus.get("sha256", ""),
        )
        for role, corpus in corpora
    ]


def _learned_to_prefer(model: Model) -> bool:
    """Whether the job had the stage and did not leave it out for too few pairs."""
    stages = [stage.get("stage") for stage in model.job.spec.get("stages") or []]
    if stages and "align_preferences" not in stages:
        return False
    found = model.job.stages.filter(name="align_preferences")
    return not any(stage.figures.get("skipped") for stage in found)


def other_models(model: Model) -> list[tuple[str, BaseModel | None]]:
    """(resource, model) of each other model that the job took from; None where it is not
    registered any more."""
    given = model.job.spec.get("resources") or {}
    folders = [
        (name, folder)
        for name in RESOURCES
        for folder in (given.get(name) if name == "models" else [given.get(name)]) or ()
        if folder
    ]
    known = {
        base.folder: base
        for base in BaseModel.objects.filter(
            workspace=model.workspace_id,
            folder__in=[folder for _name, folder in folders],
        ).order_by(F("deleted_at").asc(nulls_last=True))
    }
    return [(name, known.get(folder)) for name, folder in folders]


def tokenizer_folder(model: Model) -> Path:
    """A local folder with a model's tokenizer.json; out of an object store it is fetched
    once."""
    place = Path(settings.DATA) / "tokenizers" / str(model.id)
    return files.with_file(model.folder, "tokenizer.json", place)


def adapter_base(model: Model) -> str:
    """The stored folder on which a model's adapter loads; empty where none is kept."""
    if not model.adapter:
        return ""
    name = f"{model.adapter.rpartition('/')[0]}/base"
    local = files.local_path(name)
    if local is not None:
        return name if local.is_dir() else ""
    return name if default_storage.exists(f"{name}/config.json") else ""


def invented_rows(model: Model) -> str:
    """The stored file of conversations that a service invented for a model's job; empty
    where there were none, or none is kept."""
    stages = model.job.spec.get("stages") or ()
    if not any(stage.get("invented_conversations") for stage in stages):
        return ""
    name = f"{model.folder.rpartition('/')[0]}/invented/{INVENTED}"
    return name if default_storage.exists(name) else ""


def read_report(report: dict[str, Any]) -> dict[str, Any]:
    """A report's figures with nothing missing: every table has "before" and "after"."""
    tokenizer = report.get("tokenizer") or {}
    bits = report.get("bits_per_byte") or {}
    return {
        "tokenizer": {m: tokenizer.get(m) or {} for m in ("before", "after")},
        **{
            role: {m: (bits.get(role) or {}).get(m) for m in ("before", "after")}
            for role in ("target", "protected")
        },
        "samples": report.get("samples") or [],
        "seconds": (report.get("seconds") or {}).get("total"),
    }
