"""Pages of base models."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from webapp.bases import selectors, services
from webapp.bases.forms import NewBaseForm, SearchForm, TryForm
from webapp.bases.models import BaseModel
from webapp.core.access import WorkspaceRequest, for_role, own, owned
from webapp.core.errors import Refusal
from webapp.core.forms import asked_text
from webapp.core.undo import offer_undo
from webapp.workspaces.models import Role

PAGE = 25


@for_role(Role.VIEWER)
@require_GET
def base_list(request: WorkspaceRequest) -> HttpResponse:
    """All bases of the workspace."""
    form = SearchForm(request.GET)
    bases = selectors.search_bases(
        owned(request, BaseModel), q=asked_text(request), **form.chosen()
    )
    page = Paginator(bases, PAGE).get_page(request.GET.get("page"))
    narrowed = any(request.GET.get(name) for name in ("q", "state"))
    context = {"form": form, "page": page, "narrowed": narrowed}
    return render(request, "bases/base_list.html", context)


@for_role(Role.EDITOR)
def base_new(request: WorkspaceRequest) -> HttpResponse:
    """Register a folder or a hub id."""
    form = NewBaseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            base = _register(request, form.cleaned_data)
            return redirect("base", request.workspace.slug, base.id)
        except Refusal as refusal:
            form.add_error(refusal.field or "address", refusal.sentence)
    status = 422 if form.errors else 200
    return render(request, "bases/base_new.html", {"form": form}, status=status)


@for_role(Role.VIEWER)
@require_GET
def base(request: WorkspaceRequest, base_id: UUID) -> HttpResponse:
    """One base: its passport, and any text under its tokenizer (?text=)."""
    row = own(request, BaseModel, base_id)
    context = _tried(request, row)
    context["targets"] = row.targets.filter(deleted_at=None)
    return render(request, "bases/base.html", context)


@for_role(Role.VIEWER)
@require_GET
def base_try(request: WorkspaceRequest, base_id: UUID) -> HttpResponse:
    """The ribbon of a text alone."""
    row = own(request, BaseModel, base_id)
    return render(request, "bases/_try.html", _tried(request, row))


@for_role(Role.VIEWER)
@require_GET
def base_state(request: WorkspaceRequest, base_id: UUID) -> HttpResponse:
    """How the bringing stands; a finished one asks for the whole page."""
    row = own(request, BaseModel, base_id)
    response = render(request, "bases/_state.html", {"base": row})
    if row.state != BaseModel.State.WAITING:
        response["HX-Refresh"] = "true"
    return response


@for_role(Role.EDITOR)
@require_POST
def base_retry(request: WorkspaceRequest, base_id: UUID) -> HttpResponse:
    """Bring a refused base once more."""
    row = own(request, BaseModel, base_id)
    services.retry_base(base=row)
    return redirect("base", request.workspace.slug, row.id)


@for_role(Role.EDITOR)
@require_POST
def base_delete(request: WorkspaceRequest, base_id: UUID) -> HttpResponse:
    """Put a base away."""
    row = own(request, BaseModel, base_id)
    services.delete_base(base=row)
    undo = reverse("base-restore", args=[request.workspace.slug, row.id])
    offer_undo(request, _("“%(name)s” is put away.") % {"name": row.name}, undo)
    return redirect("base-list", request.workspace.slug)


@for_role(Role.EDITOR)
@require_POST
def base_restore(request: WorkspaceRequest, base_id: UUID) -> HttpResponse:
    """Take a deletion back."""
    row = get_object_or_404(BaseModel, workspace=request.workspace, id=base_id)
    services.restore_base(base=row)
    return redirect("base", request.workspace.slug, row.id)


def _register(request: WorkspaceRequest, data: dict[str, Any]) -> BaseModel:
    said = {key: data[key] for key in ("name", "licence", "final_learning_rate")}
    if data["origin"] == "hub":
        return services.register_hub(
            workspace=request.workspace, hub_id=data["address"], **said
        )
    return services.register_folder(
        workspace=request.workspace, path=Path(data["address"]), **said
    )


def _tried(request: WorkspaceRequest, row: BaseModel) -> dict[str, Any]:
    form = TryForm(request.GET or None)
    text = form.cleaned_data["text"] if form.is_bound and form.is_valid() else ""
    ready = row.state == BaseModel.State.READY
    tried = selectors.try_tokenizer(row, text if ready else "")
    return {"base": row, "try_form": form, **tried}
