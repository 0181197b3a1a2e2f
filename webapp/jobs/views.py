"""Pages of jobs: launch, list, live."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from webapp.core.access import WorkspaceRequest, for_role, own, owned
from webapp.core.errors import Refusal
from webapp.core.languages import describe
from webapp.jobs import selectors, services
from webapp.jobs.draft import Draft
from webapp.jobs.example import launch_example
from webapp.jobs.forms import SearchForm
from webapp.jobs.models import Job
from webapp.targets.models import LanguageTarget
from webapp.workspaces.models import Role

PAGE = 25


@for_role(Role.VIEWER)
@require_GET
def job_list(request: WorkspaceRequest) -> HttpResponse:
    """All jobs of the workspace."""
    form = SearchForm(request.GET)
    jobs = selectors.search_jobs(owned(request, Job), form.search())
    page = Paginator(jobs, PAGE).get_page(request.GET.get("page"))
    return render(request, "jobs/job_list.html", {"form": form, "page": page})


@for_role(Role.EDITOR)
def job_new(request: WorkspaceRequest) -> HttpResponse:
    """The questions, the plan, the button."""
    if not request.GET.get("target") and not request.POST.get("target"):
        targets = owned(request, LanguageTarget).select_related("base")
        return render(request, "jobs/job_choose.html", {"targets": targets})
    if request.method != "POST":
        draft = Draft(request, request.GET if "minutes" in request.GET else None)
        return render(request, "jobs/job_new.html", draft.context())
    draft = Draft(request, request.POST)
    if draft.is_valid():
        try:
            job = services.launch_job(
                target=draft.target,
                user=request.user,
                answers=draft.form.answers(),
                recipe=draft.chosen,
                overrides=draft.settings.overrides(),
                key=draft.form.key_or_none(),
                more=draft.form.more(),
            )
            return redirect("job", request.workspace.slug, job.id)
        except Refusal as refusal:
            draft.refuse(refusal)
    return render(request, "jobs/job_new.html", draft.context(), status=422)


@for_role(Role.EDITOR)
@require_GET
def job_plan(request: WorkspaceRequest) -> HttpResponse:
    """The plan alone, as the questions stand answered."""
    draft = Draft(request, request.GET)
    return render(request, "jobs/_plan.html", draft.context())


@for_role(Role.VIEWER)
@require_GET
@never_cache
def job(request: WorkspaceRequest, job_id: UUID) -> HttpResponse:
    """The live page of one job."""
    return render(request, "jobs/job.html", _live(request, job_id))


@for_role(Role.VIEWER)
@require_GET
@never_cache
def job_live(request: WorkspaceRequest, job_id: UUID) -> HttpResponse:
    """The part of the page that changes, asked for again and again."""
    return render(request, "jobs/_live.html", _live(request, job_id))


@for_role(Role.VIEWER)
@require_GET
@never_cache
def job_curves(request: WorkspaceRequest, job_id: UUID) -> HttpResponse:
    """Bits per byte over the minutes of the run, for the plot."""
    return JsonResponse(selectors.curves(own(request, Job, job_id)))


@for_role(Role.EDITOR)
@require_POST
def job_cancel(request: WorkspaceRequest, job_id: UUID) -> HttpResponse:
    """Cancel."""
    return _act(request, job_id, services.cancel_job)


@for_role(Role.EDITOR)
@require_POST
def job_pause(request: WorkspaceRequest, job_id: UUID) -> HttpResponse:
    """Pause."""
    return _act(request, job_id, services.pause_job)


@for_role(Role.EDITOR)
@require_POST
def job_resume(request: WorkspaceRequest, job_id: UUID) -> HttpResponse:
    """Resume after a pause."""
    return _act(request, job_id, services.resume_job)


@for_role(Role.EDITOR)
@require_POST
def job_retry(request: WorkspaceRequest, job_id: UUID) -> HttpResponse:
    """Try again after a failure or a cancel."""
    return _act(request, job_id, services.retry_job)


@for_role(Role.EDITOR)
@require_POST
def job_control(request: WorkspaceRequest, job_id: UUID) -> HttpResponse:
    """Launch the same job without new pieces."""
    of = own(request, Job, job_id)
    try:
        control = services.launch_control(job=of, user=request.user)
    except Refusal as refusal:
        messages.error(request, refusal.sentence)
        return redirect("job", request.workspace.slug, of.id)
    return redirect("job", request.workspace.slug, control.id)


@for_role(Role.EDITOR)
@require_POST
def example_launch(request: WorkspaceRequest) -> HttpResponse:
    """Make the bundled example and launch it."""
    try:
        job = launch_example(workspace=request.workspace, user=request.user)
    except Refusal as refusal:
        messages.error(request, refusal.sentence)
        return redirect("job-list", request.workspace.slug)
    return redirect("job", request.workspace.slug, job.id)


def _act(request: WorkspaceRequest, job_id: UUID, service: Any) -> HttpResponse:
    row = own(request, Job, job_id)
    try:
        service(job=row)
    except Refusal as refusal:
        messages.error(request, refusal.sentence)
    return redirect("job", request.workspace.slug, row.id)


def _live(request: WorkspaceRequest, job_id: UUID) -> dict[str, Any]:
    row = own(request, Job, job_id)
    return {**selectors.live(row), "language": describe(row.target.language)}
