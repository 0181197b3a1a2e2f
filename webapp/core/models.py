"""What every stored object has."""

from __future__ import annotations

import uuid

from django.db import models


class Stored(models.Model):
    """A random id, so that addresses tell nothing, and the time of birth."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        abstract = True
        ordering = ["-created_at"]


class Owned(Stored):
    """An object of one workspace; it never crosses to another."""

    workspace = models.ForeignKey(
        "workspaces.Workspace", on_delete=models.CASCADE, related_name="+"
    )

    class Meta(Stored.Meta):
        abstract = True
