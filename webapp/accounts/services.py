"""What can be done with accounts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from webapp.accounts.models import FailedSignIn, SignInLink, User
from webapp.accounts.throttle import WINDOW
from webapp.core.errors import Refusal
from webapp.core.tokens import new_token, sha256
from webapp.workspaces.models import Membership, Role, Workspace

LINK_LIFETIME = timedelta(days=2)
# The first administrator gives the real address when opening the link.
FIRST_EMAIL = "administrator@localhost"


@dataclass(frozen=True)
class NewLink:
    """A link's secret, known only now."""

    user: User
    token: str
    expires_at: object


def create_sign_in_link(*, user: User) -> NewLink:
    """A link that lets one person set a password once; older ones stop working."""
    token = new_token()
    expires_at = timezone.now() + LINK_LIFETIME
    with transaction.atomic():
        SignInLink.objects.filter(user=user, used_at=None).update(
            expires_at=timezone.now()
        )
        SignInLink.objects.create(
            user=user, token_sha256=sha256(token), expires_at=expires_at
        )
    return NewLink(user, token, expires_at)


def use_sign_in_link(*, token: str, email: str, name: str, password: str) -> User:
    """Spend a link: e-mail, name and password become these."""
    with transaction.atomic():
        now = timezone.now()
        spent = SignInLink.objects.filter(
            token_sha256=sha256(token), used_at=None, expires_at__gt=now
        ).update(used_at=now)
        if spent != 1:
            raise Refusal(
                _("This link was used already or is too old. Ask for another.")
            )
        user = User.objects.get(links__token_sha256=sha256(token))
        _refuse_taken(email, but=user)
        user.email, user.name = email.lower(), name
        user.set_password(password)
        user.save(update_fields=["email", "name", "password"])
    return user


def register(*, email: str, name: str, password: str) -> User:
    """A new person. Only invitations lead here."""
    _refuse_taken(email)
    return User.objects.create_user(email, password, name=name)


def change_password(*, user: User, password: str) -> None:
    """Set a new password."""
    user.set_password(password)
    user.save(update_fields=["password"])


def change_profile(*, user: User, name: str, email: str) -> None:
    """Set the name and the e-mail address."""
    _refuse_taken(email, but=user)
    user.name, user.email = name, email.lower()
    user.save(update_fields=["name", "email"])


def first_administrator(*, email: str = FIRST_EMAIL) -> NewLink | None:
    """On a new installation: a user with a workspace and a link; else nothing.

    An installation is new until somebody has a password.
    """
    with transaction.atomic():
        if User.objects.exclude(password__startswith="!").exists():  # noqa: S106
            return None
        user = User.objects.order_by("date_joined").first()
        if user is None:
            user = User.objects.create_user(email, is_superuser=True, is_staff=True)
        if not user.memberships.exists():
            workspace = Workspace.objects.create(
                name=_("First workspace"), slug="first"
            )
            Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
        return create_sign_in_link(user=user)


def note_failed_sign_in(*, email: str, address: str) -> None:
    """Count a wrong password; those older than the window are dropped."""
    FailedSignIn.objects.filter(created_at__lt=timezone.now() - WINDOW).delete()
    FailedSignIn.objects.create(email=email.lower()[:254], address=address)


def forget_failed_sign_ins(*, email: str, address: str) -> None:
    """The right password was given."""
    FailedSignIn.objects.filter(email=email.lower(), address=address).delete()


def _refuse_taken(email: str, but: User | None = None) -> None:
    taken = User.objects.filter(email=email.lower())
    if but:
        taken = taken.exclude(id=but.id)
    if taken.exists():
        raise Refusal(
            _("Somebody with this e-mail address has an account already."),
            field="email",
        )
