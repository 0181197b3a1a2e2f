"""What is known of accounts."""

from __future__ import annotations

from django.utils import timezone

from webapp.accounts.models import SignInLink
from webapp.core.tokens import sha256


def usable_link(token: str) -> SignInLink | None:
    """The link with this secret, if it can still be used."""
    return (
        SignInLink.objects.select_related("user")
        .filter(token_sha256=sha256(token), used_at=None, expires_at__gt=timezone.now())
        .first()
    )
