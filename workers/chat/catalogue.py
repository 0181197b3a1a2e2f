"""Ids of the chat service to model folders on this machine.

A finished model goes by its id, a base model by "base:" and its id. Reads the site's
database; copies a model out of an object store once.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import close_old_connections

from webapp.bases.models import BaseModel
from webapp.core import files
from webapp.models.models import Model

BASE = "base:"


class Unknown(Exception):
    """There is no such model to chat with."""


def folder_of(model: str) -> Path:
    """The local folder of a model; raises Unknown."""
    close_old_connections()
    try:
        identity = UUID(model.removeprefix(BASE))
        if model.startswith(BASE):
            ready = BaseModel.objects.filter(state=BaseModel.State.READY)
            stored = ready.get(id=identity).folder
        else:
            stored = Model.objects.get(id=identity, withdrawn_at=None).folder
    except (ValueError, BaseModel.DoesNotExist, Model.DoesNotExist):
        raise Unknown(model) from None
    finally:
        close_old_connections()
    return files.fetch_folder(stored, Path(settings.DATA) / "chat" / str(identity))


def names() -> list[dict[str, str]]:
    """All models that can be chatted with, as {"id", "name"}."""
    close_old_connections()
    try:
        models = Model.objects.filter(withdrawn_at=None)
        return [{"id": str(row.id), "name": row.name} for row in models]
    finally:
        close_old_connections()
