"""Home of a workspace, and the way to one."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from webapp.core.access import WorkspaceRequest, for_role
from webapp.core.forms import show_form
from webapp.workspaces import overview, services
from webapp.workspaces.forms import WorkspaceForm
from webapp.workspaces.models import Role
from webapp.workspaces.selectors import workspaces_of


def home(request: HttpRequest) -> HttpResponse:
    """To the first workspace; who is in none may make one."""
    workspace = workspaces_of(request.user).first()
    if workspace:
        return redirect("workspace-home", workspace.slug)
    return redirect("workspace-new")


def workspace_new(request: HttpRequest) -> HttpResponse:
    """Make a workspace."""
    form = WorkspaceForm(request.POST or None)
    if form.is_valid():
        workspace = services.create_workspace(
            owner=request.user, name=form.cleaned_data["name"]
        )
        return redirect("workspace-home", workspace.slug)
    first = not workspaces_of(request.user).exists()
    return show_form(request, "workspaces/new.html", form, first=first)


@for_role(Role.VIEWER)
def workspace_home(request: WorkspaceRequest) -> HttpResponse:
    """What goes on here."""
    context = {
        "cards": overview.cards(request.workspace),
        "datasets": overview.recent_datasets(request.workspace),
        "hosts": overview.busy_hosts(request.workspace),
    }
    return render(request, "workspaces/home.html", context)
