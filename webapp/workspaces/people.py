"""Views about who is in a workspace."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from webapp.accounts.forms import NewPersonForm
from webapp.core.access import WorkspaceRequest, for_role, own
from webapp.core.errors import Refusal
from webapp.core.forms import add_refusal, show_form
from webapp.core.languages import isolate
from webapp.core.undo import offer_undo
from webapp.workspaces import services
from webapp.workspaces.forms import RoleForm, WorkspaceForm
from webapp.workspaces.models import Invitation, Membership, Role
from webapp.workspaces.selectors import members, usable_invitation, waiting_invitations

UNDO_SECONDS = 3600


@for_role(Role.VIEWER)
def people(request: WorkspaceRequest) -> HttpResponse:
    """Members and, for owners, invitations."""
    return render(
        request,
        "workspaces/people.html",
        {
            "members": members(request.workspace),
            "invitations": waiting_invitations(request.workspace),
            "roles": Role,
            "invitation_form": RoleForm(),
            "name_form": _name_form(request.workspace.name),
        },
    )


def _name_form(name: str) -> WorkspaceForm:
    form = WorkspaceForm(initial={"name": name})
    form.fields["name"].help_text = ""  # known by now
    return form


@for_role(Role.OWNER)
@require_POST
def workspace_rename(request: WorkspaceRequest) -> HttpResponse:
    """Another name."""
    form = WorkspaceForm(request.POST)
    if form.is_valid():
        services.rename_workspace(workspace=request.workspace, **form.cleaned_data)
        messages.success(request, _("Renamed."))
        return redirect("people", request.workspace.slug)
    return show_form(request, "workspaces/rename.html", form)


@for_role(Role.OWNER)
@require_POST
def member_role(request: WorkspaceRequest, membership_id: UUID) -> HttpResponse:
    """Give somebody another role."""
    membership = _membership(request, membership_id)
    form = RoleForm(request.POST)
    if form.is_valid():
        try:
            services.change_role(membership=membership, **form.cleaned_data)
            messages.success(
                request,
                _("%(name)s: %(role)s.")
                % {
                    "name": isolate(membership.user),
                    "role": Role(form.cleaned_data["role"]).label,
                },
            )
        except Refusal as refusal:
            messages.error(request, refusal.sentence)
    else:
        messages.error(request, _("There is no such role; nothing was changed."))
    return redirect("people", request.workspace.slug)


@for_role(Role.OWNER)
@require_POST
def member_remove(request: WorkspaceRequest, membership_id: UUID) -> HttpResponse:
    """Take somebody out."""
    membership = _membership(request, membership_id)
    user, role = membership.user, membership.role
    try:
        services.remove_member(membership=membership)
    except Refusal as refusal:
        messages.error(request, refusal.sentence)
    else:
        ticket = signing.dumps(
            [request.workspace.slug, user.id, role], salt="removed-member"
        )
        url = reverse("member-restore", args=[request.workspace.slug, ticket])
        offer_undo(
            request,
            _("%(name)s is not in the workspace now.") % {"name": isolate(user)},
            url,
        )
    return redirect("people", request.workspace.slug)


@for_role(Role.OWNER)
@require_POST
def member_restore(request: WorkspaceRequest, ticket: str) -> HttpResponse:
    """Undo a removal. The ticket says whom and is signed, so that only people who were
    in this workspace can be brought in so."""
    try:
        slug, user_id, role = signing.loads(
            ticket, salt="removed-member", max_age=UNDO_SECONDS
        )
    except signing.BadSignature:
        raise Http404 from None
    if slug != request.workspace.slug:
        raise Http404
    services.restore_member(workspace=request.workspace, user_id=user_id, role=role)
    return redirect("people", request.workspace.slug)


@for_role(Role.VIEWER)
@require_POST
def leave(request: WorkspaceRequest) -> HttpResponse:
    """Leave the workspace."""
    membership = get_object_or_404(request.workspace.memberships, user=request.user)
    try:
        services.remove_member(membership=membership)
    except Refusal as refusal:
        messages.error(request, refusal.sentence)
        return redirect("people", request.workspace.slug)
    return redirect("home")


@for_role(Role.OWNER)
@require_POST
def invitation_create(request: WorkspaceRequest) -> HttpResponse:
    """Make a link and show it, this once."""
    form = RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("There is no such role; nothing was changed."))
        return redirect("people", request.workspace.slug)
    new = services.invite(workspace=request.workspace, **form.cleaned_data)
    link = request.build_absolute_uri(reverse("join", args=[new.token]))
    return render(
        request,
        "workspaces/invitation.html",
        {"invitation": new.invitation, "link": link},
    )


@for_role(Role.OWNER)
@require_POST
def invitation_withdraw(request: WorkspaceRequest, invitation_id: UUID) -> HttpResponse:
    """Make a link useless."""
    invitation = own(request, Invitation, invitation_id)
    services.withdraw_invitation(invitation=invitation)
    url = reverse("invitation-restore", args=[request.workspace.slug, invitation.id])
    offer_undo(request, _("The invitation is withdrawn."), url)
    return redirect("people", request.workspace.slug)


@for_role(Role.OWNER)
@require_POST
def invitation_restore(request: WorkspaceRequest, invitation_id: UUID) -> HttpResponse:
    """Undo a withdrawal."""
    services.restore_invitation(invitation=own(request, Invitation, invitation_id))
    return redirect("people", request.workspace.slug)


@login_not_required
@never_cache
@sensitive_post_parameters("password", "again")
def join(request: HttpRequest, token: str) -> HttpResponse:
    """Join by a link; who has no account makes one here, and only here."""
    invitation = usable_invitation(token)
    if invitation is None:
        return render(request, "workspaces/join_over.html", status=410)
    known = request.user.is_authenticated
    form = None if known else NewPersonForm(request.POST or None)
    if request.method == "POST" and (known or form.is_valid()):
        try:
            workspace = _join(request, token, form)
        except Refusal as refusal:
            if form is None:
                return render(request, "workspaces/join_over.html", status=410)
            add_refusal(form, refusal)
        else:
            return redirect("workspace-home", workspace.slug)
    context = {"invitation": invitation, "token": token}
    if form is None:
        return render(request, "workspaces/join.html", context)
    return show_form(request, "workspaces/join.html", form, **context)


def _join(
    request: HttpRequest, token: str, form: NewPersonForm | None
) -> services.Workspace:
    if form is None:
        return services.accept_invitation(token=token, user=request.user)
    values = {key: form.cleaned_data[key] for key in ("email", "name", "password")}
    user, workspace = services.register_by_invitation(token=token, **values)
    login(request, user, "django.contrib.auth.backends.ModelBackend")
    return workspace


def _membership(request: WorkspaceRequest, membership_id: UUID) -> Membership:
    return get_object_or_404(
        request.workspace.memberships.select_related("user"), id=membership_id
    )
