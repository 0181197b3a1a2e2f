"""Which models a person may chat with."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import close_old_connections

from webapp.models.models import Model
from webapp.workspaces.models import Membership


@dataclass(frozen=True)
class ChatModel:
    """A model to chat with, and the base it came from.

    `id` and `base` are ids of the chat runtime; `prompts` are questions to try.
    """

    id: str
    name: str
    base: str
    prompts: tuple[str, ...]


def chat_models(user_id: str, slug: str) -> list[ChatModel]:
    """Finished models of a workspace, newest first, controls behind all others; none for
    who is not a member.

    Gradio calls this from threads of its own: connections are closed around it.
    """
    close_old_connections()
    try:
        if not Membership.objects.filter(
            workspace__slug=slug, user_id=user_id
        ).exists():
            return []
        rows = Model.objects.filter(workspace__slug=slug, withdrawn_at=None)
        found = list(rows.select_related("target", "job"))
        found.sort(key=lambda row: bool(row.job.answers.get("control_of")))
        return [_chat_model(row) for row in found]
    finally:
        close_old_connections()


def may_chat(user_id: str, model: str) -> bool:
    """Whether a person may ask a model of the runtime: "<id>" or "base:<id>"."""
    close_old_connections()
    try:
        identity = UUID(model.removeprefix("base:"))
        rows = (
            Model.objects.filter(target__base_id=identity)
            if model.startswith("base:")
            else Model.objects.filter(id=identity, withdrawn_at=None)
        )
        return rows.filter(workspace__memberships__user_id=user_id).exists()
    except ValueError:
        return False
    finally:
        close_old_connections()


def _chat_model(row: Model) -> ChatModel:
    return ChatModel(
        id=str(row.id),
        name=row.name,
        base=f"base:{row.target.base_id}",
        prompts=tuple(row.job.spec.get("prompts", ()))[:4],
    )
