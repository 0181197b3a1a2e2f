"""Pages of datasets."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.utils.text import get_valid_filename
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from webapp.core import languages
from webapp.core.access import WorkspaceRequest, for_role, own, owned
from webapp.core.errors import Refusal
from webapp.core.forms import add_refusal, asked_number, asked_text, show_form
from webapp.core.undo import offer_undo
from webapp.datasets import selectors, services
from webapp.datasets.forms import (
    AboutForm,
    AddVersionForm,
    CorrectForm,
    NewDatasetForm,
    SearchForm,
)
from webapp.datasets.models import Dataset, DatasetVersion, Upload
from webapp.datasets.rows import PAGE_ROWS, rows_from, stored_blocks
from webapp.datasets.uploads import keep_form_file
from webapp.models.archive import in_threads
from webapp.workspaces.models import Role

PAGE = 25


@for_role(Role.VIEWER)
@require_GET
def dataset_list(request: WorkspaceRequest) -> HttpResponse:
    """All datasets of the workspace."""
    datasets = owned(request, Dataset)
    form = SearchForm(selectors.languages_of(datasets), request.GET)
    chosen = form.chosen()
    found = selectors.search_datasets(datasets, q=asked_text(request), **chosen)
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    lines = selectors.first_lines(row.newest_id for row in page)
    for row in page:
        row.first_line = lines.get(row.newest_id, "")
    narrowed = any(request.GET.get(name) for name in ("q", "kind", "language"))
    context = {"form": form, "page": page, "narrowed": narrowed}
    return render(request, "datasets/dataset_list.html", context)


@for_role(Role.EDITOR)
def dataset_new(request: WorkspaceRequest) -> HttpResponse:
    """Files, and what they are."""
    posted = (request.POST, request.FILES) if request.method == "POST" else ()
    form = NewDatasetForm(request.workspace, *posted)
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        try:
            made = services.create_dataset(
                workspace=request.workspace,
                name=data["name"],
                languages=form.tags(),
                uploads=_uploads(request, data),
                licence=data["licence"],
                origin=data["origin"],
            )
            return redirect("dataset", request.workspace.slug, made.id)
        except Refusal as refusal:
            add_refusal(form, refusal)
    return show_form(request, "datasets/dataset_new.html", form)


def _uploads(request: WorkspaceRequest, data: dict[str, Any]) -> list[Upload]:
    """Files sent in pieces, and those that came whole with the form."""
    whole = [
        keep_form_file(
            workspace=request.workspace,
            user=request.user,  # type: ignore[arg-type]
            file=file,
        )
        for file in data["files"]
    ]
    return [*data["uploads"], *whole]


@for_role(Role.EDITOR)
def dataset_add_version(request: WorkspaceRequest, dataset_id: UUID) -> HttpResponse:
    """More files, or others instead."""
    row = own(request, Dataset, dataset_id)
    posted = (request.POST, request.FILES) if request.method == "POST" else ()
    form = AddVersionForm(request.workspace, *posted)
    if form.is_bound and form.is_valid():
        keep = selectors.newest(row) if form.cleaned_data["keep"] else None
        try:
            services.add_version(
                dataset=row, uploads=_uploads(request, form.cleaned_data), keep=keep
            )
            return redirect("dataset", request.workspace.slug, row.id)
        except Refusal as refusal:
            add_refusal(form, refusal)
    return show_form(request, "datasets/dataset_add_version.html", form, dataset=row)


@for_role(Role.VIEWER)
@require_GET
def dataset_languages(request: WorkspaceRequest) -> HttpResponse:
    """Languages for what is being typed, as options of a list."""
    query = next(iter(request.GET.values()), "")
    found = languages.find(query[:80])
    return render(request, "datasets/_languages.html", {"languages": found})


@for_role(Role.VIEWER)
@require_GET
@never_cache
def dataset(request: WorkspaceRequest, dataset_id: UUID) -> HttpResponse:
    """What is in it, and whether it can be trusted."""
    return render(request, "datasets/dataset.html", _shown(request, dataset_id))


@for_role(Role.VIEWER)
@require_GET
@never_cache
def dataset_live(request: WorkspaceRequest, dataset_id: UUID) -> HttpResponse:
    """The part that changes while files are read, asked for again and again."""
    context = _shown(request, dataset_id)
    response = render(request, "datasets/_reading.html", context)
    if not context["under_way"]:
        response["HX-Refresh"] = "true"
    return response


def _shown(request: WorkspaceRequest, dataset_id: UUID) -> dict[str, Any]:
    row = own(request, Dataset, dataset_id)
    version, versions = _version(request, row)
    kind = version.options.get("kind") or row.kind
    return {
        "dataset": row,
        "shown": version,
        "versions": versions,
        "under_way": version.state in ("waiting", "reading"),
        "files": version.uploads.order_by("created_at", "name"),
        "samples": selectors.samples(version, row.languages),
        "caution": selectors.script_caution(version.statistics, row.languages),
        "copies": selectors.copies_caution(version.statistics),
        "spaced_words": selectors.spaced_words(version),
        "scripts": selectors.scripts(version.statistics),
        "lengths": selectors.lengths(version.statistics),
        "table": selectors.guessed_table(version.guess),
        "legacy": selectors.is_legacy(version.guess),
        "words": selectors.reading_words(version),
        "form": CorrectForm(version, kind, initial=CorrectForm.of(version, kind)),
        "targets": row.targets.filter(deleted_at=None).select_related("base"),
        "protecting": row.protecting_targets.filter(deleted_at=None).select_related(
            "base"
        ),
        "models": selectors.models_from(row),
    }


def _version(
    request: WorkspaceRequest, row: Dataset
) -> tuple[DatasetVersion, list[DatasetVersion]]:
    """The version that ?version= names, or the newest; and all of them."""
    heavy = ("preview", "problems", "guess", "statistics")
    versions = list(row.versions.order_by("-number").defer(*heavy))
    number = asked_number(request, "version")
    if number is None:
        number = versions[0].number if versions else 0
    return get_object_or_404(row.versions, number=number), versions


@for_role(Role.VIEWER)
@require_GET
def dataset_rows(request: WorkspaceRequest, dataset_id: UUID) -> HttpResponse:
    """Rows to page through and to search (?q=, ?from=)."""
    row = own(request, Dataset, dataset_id)
    version, _versions = _version(request, row)
    if version.state != DatasetVersion.State.READY:
        raise Http404
    first = asked_number(request, "from") or 1
    query = asked_text(request)
    try:
        found = rows_from(version, first, query, row.languages)
    except FileNotFoundError:
        messages.error(request, _("The text of this version is not in the storage."))
        return redirect("dataset", request.workspace.slug, row.id)
    context = {
        "dataset": row,
        "shown": version,
        "query": query,
        "first": first,
        "found": found,
        "before": max(1, first - PAGE_ROWS) if first > 1 and not query else None,
    }
    part = request.htmx and not request.htmx.boosted  # type: ignore[attr-defined]
    name = "datasets/_rows.html" if part else "datasets/dataset_rows.html"
    return render(request, name, context)


@for_role(Role.EDITOR)
def dataset_correct(request: WorkspaceRequest, dataset_id: UUID) -> HttpResponse:
    """Read the same files in another way: makes a new version."""
    row = own(request, Dataset, dataset_id)
    version, _versions = _version(request, row)
    asked = request.POST.get("of") or request.GET.get("kind") or row.kind
    if request.method == "POST":
        form = CorrectForm(version, asked, request.POST)
        if form.is_valid():
            services.correct_version(version=version, options=form.options())
            return redirect("dataset", request.workspace.slug, row.id)
    else:
        form = CorrectForm(version, asked, initial=CorrectForm.of(version, asked))
    part = request.htmx  # type: ignore[attr-defined]
    name = "datasets/_correct.html" if part else "datasets/dataset_correct.html"
    context = {
        "dataset": row,
        "shown": version,
        "table": selectors.guessed_table(version.guess),
        "legacy": selectors.is_legacy(version.guess),
        "words": selectors.reading_words(version),
    }
    return show_form(request, name, form, **context)


@for_role(Role.EDITOR)
def dataset_describe(request: WorkspaceRequest, dataset_id: UUID) -> HttpResponse:
    """Name, languages, licence, origin."""
    row = own(request, Dataset, dataset_id)
    form = AboutForm(request.POST or None, initial=AboutForm.of(row))
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        services.describe_dataset(
            dataset=row,
            name=data["name"],
            languages=form.tags(),
            licence=data["licence"],
            origin=data["origin"],
        )
        return redirect("dataset", request.workspace.slug, row.id)
    return show_form(request, "datasets/dataset_describe.html", form, dataset=row)


@for_role(Role.EDITOR)
@require_POST
def dataset_delete(request: WorkspaceRequest, dataset_id: UUID) -> HttpResponse:
    """Put away, with undo."""
    row = own(request, Dataset, dataset_id)
    services.delete_dataset(dataset=row)
    slug = request.workspace.slug
    sentence = _("%(name)s was deleted.") % {"name": row.name}
    offer_undo(request, sentence, reverse("dataset-restore", args=[slug, row.id]))
    return redirect("dataset-list", slug)


@for_role(Role.EDITOR)
@require_POST
def dataset_restore(request: WorkspaceRequest, dataset_id: UUID) -> HttpResponse:
    """Undo a deletion."""
    row = get_object_or_404(Dataset, workspace=request.workspace, id=dataset_id)
    services.restore_dataset(dataset=row)
    return redirect("dataset", request.workspace.slug, row.id)


@for_role(Role.VIEWER)
@require_GET
def dataset_download(request: WorkspaceRequest, dataset_id: UUID) -> HttpResponse:
    """The rows as JSON lines, or a file as it came (?file=)."""
    row = own(request, Dataset, dataset_id)
    version, _versions = _version(request, row)
    if asked := request.GET.get("file"):
        file = next((f for f in version.uploads.all() if str(f.id) == asked), None)
        stored, name = (file.file, file.name) if file else ("", "")
    else:
        stored = version.rows_file
        name = f"{get_valid_filename(row.name)}-{version.number}.jsonl"
    if not stored or not default_storage.exists(stored):
        raise Http404
    blocks = stored_blocks(stored)
    response = StreamingHttpResponse(
        in_threads(blocks), content_type="application/octet-stream"
    )
    response["Content-Disposition"] = content_disposition_header(True, name)
    response["Content-Length"] = str(default_storage.size(stored))
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-store"
    return response
