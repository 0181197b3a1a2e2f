"""What can be done with base models: register, bring from a hub, put away."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from webapp.bases.hub import bring
from webapp.bases.licences import stated_licence
from webapp.bases.models import BaseModel
from webapp.bases.passport import read_passport
from webapp.core import files
from webapp.core.errors import Refusal
from webapp.models.models import Model
from webapp.workspaces.models import Workspace

State = BaseModel.State
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)

REPORT_SECONDS = 10.0
# One that said nothing for so long has died with its worker.
SILENT_SECONDS = 300
MOST_TRIES = 3


def register_folder(
    *,
    workspace: Workspace,
    path: Path,
    name: str = "",
    licence: str = "",
    final_learning_rate: float | None = None,
) -> BaseModel:
    """Register a folder of this installation; the same folder is registered once."""
    path = path.expanduser().resolve()
    _refuse_outside(path)
    try:
        passport = read_passport(path)
    except Refusal as refusal:
        raise Refusal(refusal.sentence, field="address") from refusal
    with transaction.atomic():
        known = BaseModel.objects.filter(
            workspace=workspace, folder=str(path), deleted_at=None
        ).first()
        licence = licence or stated_licence(path)
        if known and known.passport == passport:
            if licence and not known.licence:
                known.licence = licence
                known.save(update_fields=["licence"])
            return known
        return BaseModel.objects.create(
            workspace=workspace,
            name=name or path.name,
            origin=BaseModel.Origin.FOLDER,
            address=str(path),
            folder=str(path),
            licence=licence,
            final_learning_rate=final_learning_rate,
            passport=passport,
            state=State.READY,
        )


def _refuse_outside(path: Path) -> None:
    """Only allowed folders and the bundled samples; never what belongs to a workspace."""
    if path.is_relative_to(Path(settings.SAMPLES).resolve()):
        return
    roots = [Path(root).resolve() for root in settings.BASE_FOLDERS]
    if roots and not any(path.is_relative_to(root) for root in roots):
        raise Refusal(
            _("Base models may only be taken from %(roots)s.")
            % {"roots": ", ".join(map(str, roots))},
            field="address",
        )
    if settings.PRODUCTION and not roots:
        raise Refusal(
            _(
                "The operator has named no folder to take base models from "
                "(MOTHERTONGUE_BASE_FOLDERS). Give a hub id instead."
            ),
            field="address",
        )
    kept = [Path(settings.FILES), Path(settings.RUNS), Path(settings.DATA) / "bases"]
    if any(path.is_relative_to(folder.resolve()) for folder in kept):
        raise Refusal(
            _(
                "This folder belongs to Mothertongue itself. A model made here becomes a "
                "base on its own page."
            ),
            field="address",
        )


def register_hub(
    *,
    workspace: Workspace,
    hub_id: str,
    name: str = "",
    licence: str = "",
    final_learning_rate: float | None = None,
) -> BaseModel:
    """Register a hub id ("organisation/model"); a worker brings its files."""
    hub_id = hub_id.strip().removeprefix("https://huggingface.co/").strip("/")
    if not HUB_ID.fullmatch(hub_id):
        raise Refusal(
            _("A hub id has the form organisation/model, not “%(id)s”.")
            % {"id": hub_id},
            field="address",
        )
    known = BaseModel.objects.filter(
        workspace=workspace,
        origin=BaseModel.Origin.HUB,
        address=hub_id,
        deleted_at=None,
    ).exclude(state=State.REFUSED)
    return known.first() or BaseModel.objects.create(
        workspace=workspace,
        name=name or hub_id.split("/")[1],
        origin=BaseModel.Origin.HUB,
        address=hub_id,
        licence=licence,
        final_learning_rate=final_learning_rate,
    )


def register_model(*, workspace: Workspace, model: Model) -> BaseModel:
    """Make a finished model a base, so that it can learn more; once for each model.

    A model in an object store waits for a worker that brings its files.
    """
    known = BaseModel.objects.filter(
        workspace=workspace,
        origin=BaseModel.Origin.MODEL,
        address=str(model.id),
        deleted_at=None,
    ).exclude(state=State.REFUSED)
    if base := known.first():
        return base
    folder = files.local_path(model.folder)
    former = model.target.base
    return BaseModel.objects.create(
        workspace=workspace,
        name=model.name,
        origin=BaseModel.Origin.MODEL,
        address=str(model.id),
        folder=str(folder or ""),
        licence=former.licence,
        final_learning_rate=_final_learning_rate(model),
        languages=list(dict.fromkeys([*former.languages, model.language])),
        passport=read_passport(folder) if folder else {},
        state=State.READY if folder else State.WAITING,
    )


def _final_learning_rate(model: Model) -> float | None:
    """Where the last pretraining of a model that was made here ended."""
    for stage in reversed(model.job.spec.get("stages", [])):
        if stage["stage"] == "continue_pretraining" and stage["learning_rate"]:
            return stage["learning_rate"] * stage["final_learning_rate_share"]
    return model.target.base.final_learning_rate


def claim_base() -> BaseModel | None:
    """Take the oldest base that waits to be brought, so that nobody else does.

    One whose bringer fell silent is taken over; after MOST_TRIES it is given up.
    """
    silent = timezone.now() - timedelta(seconds=SILENT_SECONDS)
    waiting = BaseModel.objects.filter(
        Q(seen_at=None) | Q(seen_at__lt=silent), state=State.WAITING, deleted_at=None
    )
    for base in waiting.order_by("created_at")[:10]:
        if base.tries >= MOST_TRIES:
            sentence = _(
                "Bringing it stopped %(times)d times without an answer. Try again, or "
                "bring the model's folder to this machine and register the folder."
            )
            _refuse(base, sentence % {"times": base.tries})
        elif _mine(base).update(
            tries=F("tries") + 1,
            seen_at=timezone.now(),
            reason=_("It is being brought."),
        ):
            return base
    return None


def bring_base(*, base_id: UUID) -> None:
    """Bring a base's files and read its passport; it ends READY or REFUSED."""
    base = BaseModel.objects.get(id=base_id)
    place = Path(settings.DATA) / "bases" / str(base.id)
    alive = _reporter(base)
    try:
        if base.origin == BaseModel.Origin.MODEL:
            stored, licence = Model.objects.get(id=base.address).folder, ""
            passport = read_passport(files.fetch_folder(stored, place, alive))
        else:
            folder, licence = bring(base.address, place, alive)
            passport = read_passport(folder)
            stored = _kept(base, folder)
    except Refusal as refusal:
        _refuse(base, refusal.sentence)
        return
    _mine(base).update(
        folder=stored,
        passport=passport,
        licence=base.licence or licence,
        state=State.READY,
        reason="",
    )


def _kept(base: BaseModel, folder: Path) -> str:
    """Where all machines find what one of them has brought."""
    name = f"bases/{base.id}"
    if files.local_path(name) is not None:
        return str(folder)
    stored = files.store_folder(folder, name)
    shutil.rmtree(folder)
    return stored


def _mine(base: BaseModel) -> QuerySet[BaseModel]:
    """The base's row, as long as nobody else has taken it up since."""
    return BaseModel.objects.filter(id=base.id, state=State.WAITING, tries=base.tries)


def _refuse(base: BaseModel, sentence: str) -> None:
    _mine(base).update(state=State.REFUSED, reason=sentence)


def _reporter(base: BaseModel) -> Callable[[], None]:
    """Says on the row, now and then, that somebody is at it."""
    last = time.monotonic()

    def report() -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            _mine(base).update(seen_at=timezone.now())

    return report


def retry_base(*, base: BaseModel) -> None:
    """Try once more to bring a base that was refused."""
    BaseModel.objects.filter(id=base.id, state=State.REFUSED).update(
        state=State.WAITING, reason="", tries=0, seen_at=None
    )


def delete_base(*, base: BaseModel) -> None:
    """Put a base away; targets that use it keep it. Nothing is removed from disk."""
    BaseModel.objects.filter(id=base.id).update(deleted_at=timezone.now())


def restore_base(*, base: BaseModel) -> None:
    """Undo a deletion."""
    BaseModel.objects.filter(id=base.id).update(deleted_at=None)
