"""What every answer carries."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url

# No inline script, nothing from outside. Styles may be inline: plots set widths so.
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Set the content security policy on every answer."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.setdefault("Content-Security-Policy", POLICY)
        return response

    return middleware


def whole_page_to_sign_in(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """A part of a page that is asked for after the session ended: load the page again,
    which leads to the sign-in page and back. Else that page would stand in the part."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        to = response.get("Location", "").partition("?")[0]
        if request.headers.get("HX-Request") and to == resolve_url(settings.LOGIN_URL):
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        return response

    return middleware
