"""Pages of finished models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from webapp.bases.services import register_model
from webapp.core.access import WorkspaceRequest, for_role, own, owned
from webapp.core.errors import Refusal
from webapp.core.forms import asked_text
from webapp.core.languages import describe
from webapp.core.undo import offer_undo
from webapp.datasets.rows import stored_blocks
from webapp.jobs.selectors import by_language
from webapp.jobs.services import launch_part
from webapp.models import card, selectors, services
from webapp.models.archive import in_threads, refuse_incomplete, zip_folder
from webapp.models.forms import NameForm, PartForm, SearchForm
from webapp.models.models import Model
from webapp.models.ribbons import before_and_after
from webapp.workspaces.models import Role

PAGE = 25


@for_role(Role.VIEWER)
@require_GET
def model_list(request: WorkspaceRequest) -> HttpResponse:
    """All models of the workspace."""
    form = SearchForm(request.GET)
    withdrawn, sort = form.chosen()
    q = asked_text(request)
    models = selectors.search_models(
        owned(request, Model), q=q, withdrawn=withdrawn, sort=sort
    )
    page = Paginator(models, PAGE).get_page(request.GET.get("page"))
    rows = [
        {"model": row, "told": selectors.read_report(row.report)}
        for row in page.object_list
    ]
    context = {"form": form, "page": page, "rows": rows, "narrowed": q or withdrawn}
    return render(request, "models/model_list.html", context)


@for_role(Role.VIEWER)
@require_GET
def model(request: WorkspaceRequest, model_id: UUID) -> HttpResponse:
    """The card of one model."""
    row = own(request, Model, model_id)
    form = NameForm(initial={"name": row.name})
    return render(request, "models/model.html", _card(row, form))


@for_role(Role.VIEWER)
@require_GET
def model_download(request: WorkspaceRequest, model_id: UUID) -> HttpResponseBase:
    """The merged model, the adapter, or the adapter's base (?what=) as a ZIP;
    conversations that a service invented as JSON lines."""
    row = own(request, Model, model_id)
    name = card.folder_name(row)
    if request.GET.get("what") == "invented":
        stored = selectors.invented_rows(row)
        if not stored:
            raise Http404
        kind = "application/octet-stream"
        return _sent(stored_blocks(stored), f"{name}-invented.jsonl", kind)
    contents = {
        "model": (row.folder, name, card.model_card),
        "adapter": (row.adapter, f"{name}-adapter/adapter", card.adapter_card),
        "base": (selectors.adapter_base(row), f"{name}-adapter/base", card.base_card),
    }
    what = request.GET.get("what", "model")
    folder, root, readme = contents.get(what, ("", "", card.model_card))
    if not folder:
        raise Http404
    try:
        refuse_incomplete(folder)
    except Refusal as refusal:
        messages.error(request, refusal.sentence)
        return redirect("model", request.workspace.slug, row.id)
    file = {"model": name, "adapter": f"{name}-adapter", "base": f"{name}-adapter-base"}
    blocks = zip_folder(folder, root, {"README.md": readme(row).encode()})
    return _sent(blocks, f"{file[what]}.zip", "application/zip")


def _sent(blocks: Iterator[bytes], name: str, kind: str) -> StreamingHttpResponse:
    """A file to save, sent block by block."""
    response = StreamingHttpResponse(in_threads(blocks), content_type=kind)
    response["Content-Disposition"] = content_disposition_header(True, name)
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-store"
    return response


@for_role(Role.EDITOR)
@require_POST
def model_rename(request: WorkspaceRequest, model_id: UUID) -> HttpResponse:
    """Give it another name."""
    row = own(request, Model, model_id)
    form = NameForm(request.POST)
    if not form.is_valid():
        return render(request, "models/model.html", _card(row, form), status=422)
    services.rename_model(model=row, name=form.cleaned_data["name"])
    return redirect("model", request.workspace.slug, row.id)


@for_role(Role.EDITOR)
@require_POST
def model_part(request: WorkspaceRequest, model_id: UUID) -> HttpResponse:
    """Launch a job that goes part of the way back to the base."""
    row = own(request, Model, model_id)
    form = PartForm(request.POST)
    if not form.is_valid():
        context = _card(row, NameForm(initial={"name": row.name}))
        return render(
            request, "models/model.html", context | {"part_form": form}, status=422
        )
    try:
        weight = form.cleaned_data["percent"] / 100
        job = launch_part(model=row, weight=weight, user=request.user)
    except Refusal as refusal:
        messages.error(request, refusal.sentence)
        return redirect("model", request.workspace.slug, row.id)
    return redirect("job", request.workspace.slug, job.id)


@for_role(Role.EDITOR)
@require_POST
def model_withdraw(request: WorkspaceRequest, model_id: UUID) -> HttpResponse:
    """Take it out of lists and chat."""
    row = own(request, Model, model_id)
    services.withdraw_model(model=row)
    undo = reverse("model-restore", args=[request.workspace.slug, row.id])
    offer_undo(request, _("“%(name)s” is withdrawn.") % {"name": row.name}, undo)
    return redirect("model-list", request.workspace.slug)


@for_role(Role.EDITOR)
@require_POST
def model_restore(request: WorkspaceRequest, model_id: UUID) -> HttpResponse:
    """Take a withdrawal back."""
    row = own(request, Model, model_id)
    services.restore_model(model=row)
    return redirect("model", request.workspace.slug, row.id)


@for_role(Role.EDITOR)
@require_POST
def model_as_base(request: WorkspaceRequest, model_id: UUID) -> HttpResponse:
    """Let it learn more: it becomes a base model."""
    row = own(request, Model, model_id)
    try:
        base = register_model(workspace=request.workspace, model=row)
    except Refusal as refusal:
        messages.error(request, refusal.sentence)
        return redirect("model", request.workspace.slug, row.id)
    return redirect("base", request.workspace.slug, base.id)


def _card(row: Model, form: NameForm) -> dict[str, Any]:
    """What the page of a model shows."""
    told = selectors.read_report(row.report)
    return {
        "model": row,
        "language": describe(row.language),
        "protected_language": describe(row.target.protected_language),
        "told": told,
        "languages": by_language(row.job),
        "ribbons": before_and_after(row),
        "learned": selectors.lineage(row),
        "others": selectors.other_models(row),
        "adapter_base": selectors.adapter_base(row),
        "invented": selectors.invented_rows(row),
        "loading": card.loading(card.folder_name(row)),
        "name_form": form,
        "part_form": PartForm(),
    }
