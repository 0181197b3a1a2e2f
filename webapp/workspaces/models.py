"""Workspaces and who may do what in them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from webapp.core.models import Owned, Stored


class Role(models.TextChoices):
    """Owner: everything. Editor: all but people. Viewer: looks and chats."""

    OWNER = "owner", _("Owner")
    EDITOR = "editor", _("Editor")
    VIEWER = "viewer", _("Viewer")


class Workspace(Stored):
    """People and everything they own."""

    name = models.CharField(_("name"), max_length=100)
    slug = models.SlugField(unique=True, max_length=60)

    def __str__(self) -> str:
        return self.name


class Membership(Stored):
    """One person's role in one workspace."""

    workspace = models.ForeignKey(
        Workspace, on_delete=models.CASCADE, related_name="memberships"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=10, choices=Role)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="one_role_each")
        ]


class Invitation(Owned):
    """A link by which one person joins. Only the hash of its token is kept."""

    role = models.CharField(max_length=10, choices=Role)
    token_sha256 = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL
    )
    withdrawn_at = models.DateTimeField(null=True, blank=True)
