"""The gallery of recipes, and a workspace's own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from webapp.core.access import WorkspaceRequest, for_role, own, owned
from webapp.core.errors import Refusal
from webapp.core.forms import add_refusal, asked_text
from webapp.core.undo import offer_undo
from webapp.recipes import selectors, services
from webapp.recipes.forms import ImportForm, RecipeForm, SearchForm
from webapp.recipes.models import WorkspaceRecipe
from webapp.recipes.pages import stage_rows, with_needs
from webapp.recipes.reading import write
from webapp.recipes.recipe import TAKES, Recipe
from webapp.targets.models import LanguageTarget
from webapp.workspaces.models import Role

FIRST = 6  # cards of a section that are not folded while nobody searches


@for_role(Role.VIEWER)
@require_GET
def recipe_list(request: WorkspaceRequest) -> HttpResponse:
    """All recipes by section, narrowed by ?q= and ?section=, for a ?target=."""
    form = SearchForm(request.GET, owned(request, LanguageTarget))
    q, (section, target) = asked_text(request), form.chosen()
    found = selectors.recipes_of(request.workspace)
    groups = selectors.by_section(found.values(), q=q, section=section)
    context = {
        "form": form,
        "groups": with_needs(groups, target),
        "narrowed": bool(q or section),
        "target": target,
        "first": f":{FIRST}" if not (q or section) else ":",
        "after": f"{FIRST}:" if not (q or section) else "0:0",
    }
    return render(request, "recipes/recipe_list.html", context)


@for_role(Role.VIEWER)
@require_GET
def recipe(request: WorkspaceRequest, name: str) -> HttpResponse:
    """One recipe with its stages and everything that it fixes."""
    found = _named(request, name)
    context = {
        "recipe": found,
        "stages": stage_rows(found),
        "needs": [TAKES[need] for need in found.needs],
        "toml": write(found) if found.stages or not found.own else found.own.toml,
    }
    return render(request, "recipes/recipe.html", context)


@for_role(Role.VIEWER)
@require_GET
def recipe_export(request: WorkspaceRequest, name: str) -> HttpResponse:
    """The recipe as a TOML file."""
    found = _named(request, name)
    text = found.own.toml if found.own else write(found)
    response = HttpResponse(text, content_type="application/toml; charset=utf-8")
    response["Content-Disposition"] = content_disposition_header(True, f"{name}.toml")
    response["X-Content-Type-Options"] = "nosniff"
    return response


@for_role(Role.EDITOR)
@require_POST
def recipe_clone(request: WorkspaceRequest, name: str) -> HttpResponse:
    """Make a copy of the workspace's own and open it."""
    found = _named(request, name)
    try:
        row = services.clone_recipe(workspace=request.workspace, recipe=found)
    except Refusal as refusal:
        messages.error(request, refusal.sentence)
        return redirect("recipe", request.workspace.slug, name)
    return redirect("recipe-change", request.workspace.slug, row.id)


@for_role(Role.EDITOR)
def recipe_import(request: WorkspaceRequest) -> HttpResponse:
    """A recipe from a TOML text or file."""
    bound = request.method == "POST"
    form = ImportForm(request.POST, request.FILES) if bound else ImportForm()
    if bound and form.is_valid():
        try:
            row = services.import_recipe(workspace=request.workspace, text=form.text())
            return redirect("recipe", request.workspace.slug, row.name)
        except Refusal as refusal:
            add_refusal(form, refusal)
    status = 422 if form.errors else 200
    return render(request, "recipes/recipe_import.html", {"form": form}, status=status)


@for_role(Role.EDITOR)
def recipe_change(request: WorkspaceRequest, recipe_id: UUID) -> HttpResponse:
    """Change a recipe of the workspace's own."""
    row = own(request, WorkspaceRecipe, recipe_id)
    known = selectors.read_row(row)
    form = RecipeForm(known, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            services.change_recipe(
                row=row, recipe=form.recipe(), revision=form.cleaned_data["revision"]
            )
            return redirect("recipe", request.workspace.slug, row.name)
        except Refusal as refusal:
            add_refusal(form, refusal)
    context: dict[str, Any] = {"form": form, "recipe": known}
    status = 422 if form.errors else 200
    return render(request, "recipes/recipe_change.html", context, status=status)


@for_role(Role.EDITOR)
@require_POST
def recipe_delete(request: WorkspaceRequest, recipe_id: UUID) -> HttpResponse:
    """Put a recipe of the workspace's own away."""
    row = own(request, WorkspaceRecipe, recipe_id)
    services.delete_recipe(row=row)
    undo = reverse("recipe-restore", args=[request.workspace.slug, row.id])
    title = selectors.read_row(row).title
    offer_undo(request, _("The recipe “%(name)s” is deleted.") % {"name": title}, undo)
    return redirect("recipe-list", request.workspace.slug)


@for_role(Role.EDITOR)
@require_POST
def recipe_restore(request: WorkspaceRequest, recipe_id: UUID) -> HttpResponse:
    """Take a deletion back."""
    row = get_object_or_404(WorkspaceRecipe, workspace=request.workspace, id=recipe_id)
    services.restore_recipe(row=row)
    return redirect("recipe", request.workspace.slug, row.name)


def _named(request: WorkspaceRequest, name: str) -> Recipe:
    found = selectors.recipe_named(request.workspace, name)
    if found is None:
        raise Http404
    return found
