"""What can be done with language targets."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from webapp.bases.models import BaseModel
from webapp.core.errors import Refusal
from webapp.datasets.models import Dataset
from webapp.targets.models import LanguageTarget
from webapp.workspaces.models import Workspace


def create_target(
    *,
    workspace: Workspace,
    language: str,
    base: BaseModel,
    datasets: Iterable[Dataset],
    protected: Iterable[Dataset] = (),
    protected_language: str = "en",
) -> LanguageTarget:
    """A target; base and datasets must be of the same workspace."""
    datasets, protected = list(datasets), list(protected)
    _refuse_strangers(workspace.id, [base, *datasets, *protected])
    with transaction.atomic():
        target = LanguageTarget.objects.create(
            workspace=workspace,
            language=language,
            base=base,
            protected_language=protected_language,
        )
        target.datasets.set(datasets)
        target.protected.set(protected)
    return target


def change_target(
    *,
    target: LanguageTarget,
    datasets: Iterable[Dataset],
    protected: Iterable[Dataset],
    protected_language: str,
) -> None:
    """Learn from and protect other datasets from the next job on."""
    datasets, protected = list(datasets), list(protected)
    _refuse_strangers(target.workspace_id, [*datasets, *protected])
    with transaction.atomic():
        target.datasets.set(datasets)
        target.protected.set(protected)
        target.protected_language = protected_language
        target.save(update_fields=["protected_language"])


def delete_target(*, target: LanguageTarget) -> None:
    """Put a target away; its jobs and models stay."""
    LanguageTarget.objects.filter(id=target.id).update(deleted_at=timezone.now())


def restore_target(*, target: LanguageTarget) -> None:
    """Undo a deletion."""
    LanguageTarget.objects.filter(id=target.id).update(deleted_at=None)


def _refuse_strangers(workspace_id: UUID, rows: list[BaseModel | Dataset]) -> None:
    if any(row.workspace_id != workspace_id for row in rows):
        raise Refusal(_("Base model and datasets must belong to this workspace."))
