"""Pages for what went wrong. The log and the page share a reference."""

from __future__ import annotations

import logging
import secrets

from django.http import HttpRequest, HttpResponse, HttpResponseServerError
from django.shortcuts import render
from django.template import loader

log = logging.getLogger(__name__)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The role is too low."""
    return render(request, "errors/403.html", status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Nothing there, or not for this person."""
    return render(request, "errors/404.html", status=404)


def broken(request: HttpRequest) -> HttpResponse:
    """A fault of ours. Rendered without context processors: they may be what broke."""
    reference = secrets.token_hex(4)
    log.error("page broke, reference %s: %s", reference, request.path)
    page = loader.get_template("errors/500.html").render({"reference": reference})
    return HttpResponseServerError(page)
