"""Who may do what: the one place where roles are enforced.

    @for_role(Role.EDITOR)
    def dataset(request, dataset_id): ...
        dataset = own(request, Dataset, dataset_id)

Addresses begin with the workspace's slug. A stranger gets 404, as if nothing were there;
a member whose role is too low gets 403. `tests/webapp/test_access.py` walks every
address of the site.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from webapp.workspaces.models import Membership, Role, Workspace

RANK = {Role.VIEWER: 0, Role.EDITOR: 1, Role.OWNER: 2}

Row = TypeVar("Row", bound=Model)
View = Callable[..., HttpResponse]


class WorkspaceRequest(HttpRequest):
    """A request inside a workspace."""

    workspace: Workspace
    role: Role


def for_role(minimum: Role) -> Callable[[View], View]:
    """Let in members with at least this role; sets request.workspace and request.role.

    Takes the `workspace` slug out of the address's arguments.
    """

    def wrap(view: View) -> View:
        @functools.wraps(view)
        def inner(
            request: Any, *args: Any, workspace: str, **kwargs: Any
        ) -> HttpResponse:
            enter(request, workspace)
            if RANK[request.role] < RANK[minimum]:
                raise PermissionDenied
            return view(request, *args, **kwargs)

        inner.minimum_role = minimum  # type: ignore[attr-defined]
        return inner

    return wrap


def enter(request: Any, slug: str) -> None:
    """Set request.workspace and request.role, or 404."""
    try:
        membership = Membership.objects.select_related("workspace").get(
            workspace__slug=slug, user=request.user
        )
    except Membership.DoesNotExist:
        raise Http404 from None
    request.workspace = membership.workspace
    request.role = Role(membership.role)


def owned(request: Any, model: type[Row]) -> QuerySet[Row]:
    """This workspace's rows of a model, without those deleted."""
    rows = model._default_manager.filter(workspace=request.workspace)
    if any(field.name == "deleted_at" for field in model._meta.fields):
        rows = rows.filter(deleted_at=None)
    return rows


def own(request: Any, model: type[Row], id: UUID) -> Row:
    """One row of this workspace, or 404."""
    return get_object_or_404(owned(request, model), id=id)
