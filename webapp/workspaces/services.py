"""What can be done with workspaces and the people in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from webapp.accounts.models import User
from webapp.accounts.services import register
from webapp.core.errors import Refusal
from webapp.core.tokens import new_token, sha256
from webapp.workspaces.models import Invitation, Membership, Role, Workspace

INVITATION_LIFETIME = timedelta(days=14)


@dataclass(frozen=True)
class NewInvitation:
    """An invitation's secret, known only now."""

    invitation: Invitation
    token: str


def create_workspace(*, name: str, owner: User) -> Workspace:
    """A workspace with its first owner; the slug comes from the name."""
    with transaction.atomic():
        workspace = Workspace.objects.create(name=name, slug=_free_slug(name))
        Membership.objects.create(workspace=workspace, user=owner, role=Role.OWNER)
    return workspace


def rename_workspace(*, workspace: Workspace, name: str) -> None:
    """Another name; addresses stay."""
    workspace.name = name
    workspace.save(update_fields=["name"])


def invite(*, workspace: Workspace, role: str) -> NewInvitation:
    """A link by which one person joins with this role."""
    token = new_token()
    invitation = Invitation.objects.create(
        workspace=workspace,
        role=role,
        token_sha256=sha256(token),
        expires_at=timezone.now() + INVITATION_LIFETIME,
    )
    return NewInvitation(invitation, token)


def withdraw_invitation(*, invitation: Invitation) -> None:
    """The link stops working."""
    Invitation.objects.filter(id=invitation.id).update(withdrawn_at=timezone.now())


def restore_invitation(*, invitation: Invitation) -> None:
    """Undo a withdrawal."""
    Invitation.objects.filter(id=invitation.id).update(withdrawn_at=None)


def accept_invitation(*, token: str, user: User) -> Workspace:
    """Join by a link, once. A member keeps the role and the link stays for another."""
    with transaction.atomic():
        waiting = Invitation.objects.filter(
            token_sha256=sha256(token),
            accepted_by=None,
            withdrawn_at=None,
            expires_at__gt=timezone.now(),
        )
        invitation = waiting.select_related("workspace").first()
        if invitation is None:
            raise Refusal(
                _("This invitation was used, withdrawn or is too old. Ask for another.")
            )
        workspace = invitation.workspace
        if workspace.memberships.filter(user=user).exists():
            return workspace
        if waiting.update(accepted_by=user) != 1:
            raise Refusal(_("Somebody else used this invitation first."))
        Membership.objects.create(workspace=workspace, user=user, role=invitation.role)
    return workspace


def register_by_invitation(
    *, token: str, email: str, name: str, password: str
) -> tuple[User, Workspace]:
    """A new person joins; without a good invitation nobody is made."""
    with transaction.atomic():
        user = register(email=email, name=name, password=password)
        return user, accept_invitation(token=token, user=user)


def change_role(*, membership: Membership, role: str) -> None:
    """Another role; one owner must remain."""
    with transaction.atomic():
        if role != Role.OWNER:
            _refuse_last_owner(membership)
        Membership.objects.filter(id=membership.id).update(role=role)


def remove_member(*, membership: Membership) -> None:
    """Take somebody out, or leave; one owner must remain."""
    with transaction.atomic():
        _refuse_last_owner(membership)
        membership.delete()


def restore_member(*, workspace: Workspace, user_id: int, role: str) -> None:
    """Undo a removal."""
    Membership.objects.get_or_create(
        workspace=workspace, user_id=user_id, defaults={"role": role}
    )


def _refuse_last_owner(membership: Membership) -> None:
    # The row is locked, so that two owners cannot leave at once.
    Workspace.objects.select_for_update().get(id=membership.workspace_id)
    owners = Membership.objects.filter(
        workspace_id=membership.workspace_id, role=Role.OWNER
    )
    if not owners.exclude(id=membership.id).exists():
        raise Refusal(
            _(
                "This is the workspace's only owner, so nothing was changed. "
                "Make somebody else an owner first."
            )
        )


def _free_slug(name: str) -> str:
    """From the name where it has Latin letters; made unique by a number."""
    stem = slugify(name)[:50] or "workspace"
    taken = set(
        Workspace.objects.filter(slug__startswith=stem).values_list("slug", flat=True)
    )
    if stem not in taken:
        return stem
    return next(
        s for n in range(2, len(taken) + 3) if (s := f"{stem}-{n}") not in taken
    )
