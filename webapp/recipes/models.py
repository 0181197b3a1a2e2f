"""Recipes that a workspace has made its own."""

from __future__ import annotations

from django.db import models

from webapp.core.models import Owned


class WorkspaceRecipe(Owned):
    """A recipe as TOML (webapp/recipes/reading.py), valid when it was written.

    `revision` rises with every change: who saves over a newer one is told.
    """

    name = models.CharField(max_length=80)
    toml = models.TextField()
    revision = models.PositiveIntegerField(default=1)
    deleted_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta(Owned.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "name"], name="recipe_name_of_workspace"
            )
        ]

    def __str__(self) -> str:
        return self.name
