"""What is known of a workspace: its people, and what goes on in it."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils import timezone

from webapp.accounts.models import User
from webapp.core.tokens import sha256
from webapp.workspaces.models import Invitation, Membership, Workspace


def workspaces_of(user: User) -> QuerySet[Workspace]:
    """Those a person is in, by name."""
    return Workspace.objects.filter(memberships__user=user).order_by("name")


def members(workspace: Workspace) -> QuerySet[Membership]:
    """Everybody, the eldest first."""
    return workspace.memberships.select_related("user").order_by("created_at")


def waiting_invitations(workspace: Workspace) -> QuerySet[Invitation]:
    """Links that still work."""
    return Invitation.objects.filter(
        workspace=workspace,
        accepted_by=None,
        withdrawn_at=None,
        expires_at__gt=timezone.now(),
    ).order_by("-created_at")


def usable_invitation(token: str) -> Invitation | None:
    """The invitation with this secret, if it still works."""
    return (
        Invitation.objects.select_related("workspace")
        .filter(
            token_sha256=sha256(token),
            accepted_by=None,
            withdrawn_at=None,
            expires_at__gt=timezone.now(),
        )
        .first()
    )
