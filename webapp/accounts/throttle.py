"""Guessing of passwords is slowed: after some failures one must wait."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from webapp.accounts.models import FailedSignIn

WINDOW = timedelta(minutes=15)
# Five tries leave room for typing mistakes. The second bound is for one address that
# tries many people; it is wide, because a school may share one address.
FAILURES_PER_PERSON = 5
FAILURES_PER_ADDRESS = 50


def seconds_to_wait(email: str, address: str) -> int:
    """0, or how long this address must wait before it tries this person again."""
    recent = FailedSignIn.objects.filter(
        address=address, created_at__gt=timezone.now() - WINDOW
    )
    mine = recent.filter(email=email.lower())
    return max(
        _until_free(mine, FAILURES_PER_PERSON),
        _until_free(recent, FAILURES_PER_ADDRESS),
    )


def _until_free(failures: QuerySet[FailedSignIn], allowed: int) -> int:
    newest = list(failures.order_by("-created_at")[:allowed])
    if len(newest) < allowed:
        return 0
    wait = newest[-1].created_at + WINDOW - timezone.now()
    return max(1, round(wait.total_seconds()))
