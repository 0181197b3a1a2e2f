"""What every template knows of the workspace."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _

from webapp import VERSION
from webapp.workspaces.selectors import workspaces_of


def workspace(request: HttpRequest) -> dict[str, Any]:
    """`workspace`, `role`, `rooms` (the navigation) where the address is inside a
    workspace; `workspaces` of the person; `version`."""
    here = getattr(request, "workspace", None)
    context: dict[str, Any] = {
        "workspace": here,
        "role": getattr(request, "role", None),
        "version": VERSION,
    }
    if here:
        context["workspaces"] = SimpleLazyObject(
            lambda: list(workspaces_of(request.user))
        )
        context["rooms"] = _rooms(here.slug, request.path)
    return context


def _rooms(slug: str, path: str) -> list[dict[str, Any]]:
    """Label, address, and whether the page belongs to it."""
    root = reverse("workspace-home", args=[slug])
    labels = {
        "": _("Home"),
        "datasets/": _("Datasets"),
        "targets/": _("Targets"),
        "jobs/": _("Jobs"),
        "models/": _("Models"),
        "chat/": _("Chat"),
        "bases/": _("Base models"),
        "recipes/": _("Recipes"),
        "people/": _("People"),
    }
    return [
        {
            "label": label,
            "href": root + folder,
            "here": path.startswith(root + folder) if folder else path == root,
        }
        for folder, label in labels.items()
    ]
