"""Pages of language targets."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from webapp.core.access import WorkspaceRequest, for_role, own, owned
from webapp.core.errors import Refusal
from webapp.core.forms import asked_text
from webapp.core.languages import describe, find, meant
from webapp.core.undo import offer_undo
from webapp.targets import selectors, services
from webapp.targets.comparison import cuttings
from webapp.targets.forms import NewTargetForm, SearchForm, change_form
from webapp.targets.models import LanguageTarget
from webapp.targets.specimens import sample, specimen
from webapp.targets.uses import learned_datasets
from webapp.workspaces.models import Role

PAGE = 25


@for_role(Role.VIEWER)
@require_GET
def target_list(request: WorkspaceRequest) -> HttpResponse:
    """All targets of the workspace."""
    form = SearchForm(request.GET)
    q = asked_text(request)
    targets = selectors.search_targets(
        owned(request, LanguageTarget), q=q, sort=form.chosen()
    )
    page = Paginator(targets, PAGE).get_page(request.GET.get("page"))
    best = selectors.best_bits(page.object_list)
    rows = [{"target": target, "best": best.get(target.id)} for target in page]
    context = {"form": form, "page": page, "rows": rows, "narrowed": bool(q)}
    return render(request, "targets/target_list.html", context)


@for_role(Role.EDITOR)
def target_new(request: WorkspaceRequest) -> HttpResponse:
    """Choose language, base and text."""
    if request.method != "POST":
        asked = ("language", "tag", "base")
        initial = {name: request.GET[name] for name in asked if name in request.GET}
        form = NewTargetForm(request.workspace, initial=initial)
        return render(request, "targets/target_new.html", {"form": form})
    form = NewTargetForm(request.workspace, request.POST)
    if form.is_valid():
        data = {
            name: value for name, value in form.cleaned_data.items() if name != "tag"
        }
        try:
            target = services.create_target(workspace=request.workspace, **data)
            return redirect("target", request.workspace.slug, target.id)
        except Refusal as refusal:
            form.add_error(refusal.field, refusal.sentence)
    return render(request, "targets/target_new.html", {"form": form}, status=422)


@for_role(Role.VIEWER)
@require_GET
def language_search(request: WorkspaceRequest) -> HttpResponse:
    """Languages to choose from, for what is typed (?language=)."""
    asked = asked_text(request, "language")
    likely = meant(asked)
    context = {
        "languages": find(asked),
        "chosen": likely[0].tag if len(likely) == 1 else "",
    }
    return render(request, "targets/_languages.html", context)


@for_role(Role.EDITOR)
@require_GET
def target_texts(request: WorkspaceRequest) -> HttpResponse:
    """What to learn from, for the language that was just chosen (?tag=, ?language=)."""
    initial = {name: asked_text(request, name) for name in ("language", "tag")}
    form = NewTargetForm(request.workspace, initial=initial)
    return render(request, "targets/_texts.html", {"form": form})


@for_role(Role.VIEWER)
@require_GET
def target(request: WorkspaceRequest, target_id: UUID) -> HttpResponse:
    """The page a person comes back to."""
    row = own(request, LanguageTarget, target_id)
    return render(request, "targets/target.html", _everything(row))


@for_role(Role.EDITOR)
def target_change(request: WorkspaceRequest, target_id: UUID) -> HttpResponse:
    """Learn from and protect other datasets."""
    row = own(request, LanguageTarget, target_id)
    form = change_form(row, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        services.change_target(target=row, **form.cleaned_data)
        return redirect("target", request.workspace.slug, row.id)
    context = {"form": form, "target": row, "language": describe(row.language)}
    status = 422 if form.errors else 200
    return render(request, "targets/target_change.html", context, status=status)


@for_role(Role.EDITOR)
@require_POST
def target_delete(request: WorkspaceRequest, target_id: UUID) -> HttpResponse:
    """Put a target away."""
    row = own(request, LanguageTarget, target_id)
    services.delete_target(target=row)
    undo = reverse("target-restore", args=[request.workspace.slug, row.id])
    name = describe(row.language).name
    offer_undo(request, _("The target %(name)s is put away.") % {"name": name}, undo)
    return redirect("target-list", request.workspace.slug)


@for_role(Role.EDITOR)
@require_POST
def target_restore(request: WorkspaceRequest, target_id: UUID) -> HttpResponse:
    """Take a deletion back."""
    row = get_object_or_404(LanguageTarget, workspace=request.workspace, id=target_id)
    services.restore_target(target=row)
    return redirect("target", request.workspace.slug, row.id)


def _everything(row: LanguageTarget) -> dict[str, Any]:
    """What the page of a target shows."""
    learned = selectors.newest_versions(row.datasets.all())
    protected = selectors.newest_versions(row.protected.all())
    text = specimen(learned, row.language)
    rows = selectors.results(row)
    compared = sample(learned, protected, row.language, row.protected_language)
    models = [result.model for result in rows if result.model]
    return {
        "target": row,
        "language": describe(row.language),
        "protected_language": describe(row.protected_language),
        "specimen": text,
        "cuttings": cuttings(row.base, models, text, compared),
        "paired": compared.paired,
        "results": rows,
        "datasets": learned_datasets(row),
        "ready": {version.dataset_id: version for version in [*learned, *protected]},
        "protected": row.protected.filter(deleted_at=None),
        "step": selectors.next_step(learned, rows, row.language),
    }
