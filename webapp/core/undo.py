"""A message with a button that takes the last step back, instead of "are you sure"."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest


def offer_undo(request: HttpRequest, sentence: str, url: str) -> None:
    """Say what was done; `url` takes a POST that undoes it."""
    messages.success(request, sentence, extra_tags=f"undo:{url}")
