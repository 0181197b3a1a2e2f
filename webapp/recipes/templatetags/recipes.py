"""Recipes in templates."""

from __future__ import annotations

from typing import Any

from django import template

from webapp.recipes.catalogue import recipes

register = template.Library()


@register.filter
def recipe_title(job: Any) -> str:
    """The title of the recipe that a job was made of, as it was at the launch."""
    kept = (job.answers or {}).get("recipe_title")
    known = recipes().get(job.recipe)
    return str(kept or (known.title if known else job.recipe))
