"""The gate before everything under /playground/: session, origin and host.

Gradio's own auth covers only some of its routes, executes cross-origin posts that carry
the cookie and does not know Django's ALLOWED_HOSTS (each was measured). So nothing gets
past here that Django would not let in; uploads and file routes are shut, as nothing in
the playground uses them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.db import close_old_connections
from django.http import HttpRequest, parse_cookie
from django.http.request import split_domain_port, validate_host

Scope = dict[str, Any]
ASGI = Callable[[Scope, Callable, Callable], Awaitable[None]]

PREFIX = "/playground"
USER = "mothertongue_user"  # where the gate leaves the user's id in the scope
SHUT = (
    "/upload",
    "/file",
    "/proxy",
    "/stream",
    "/component_server",
    "/vibe",
    "/monitoring",
)
# Gradio's page starts with inline scripts of its own; it is framed by our pages only.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)


class Gate:
    """An ASGI application before another one."""

    def __init__(self, inner: ASGI) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        """Let a signed-in person of this site through; refuse the rest."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        path = scope["path"]
        if path == PREFIX:
            await _redirect(send, PREFIX + "/", scope["query_string"])
            return
        headers = {
            k.decode("latin-1").lower(): v.decode("latin-1")
            for k, v in scope["headers"]
        }
        host = headers.get("host", "")
        if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
            await _answer(send, 400, "This host name is not one of the site's.")
            return
        if not _same_origin(headers, host):
            await _answer(send, 403, "Requests from other sites are not accepted.")
            return
        tail = path.removeprefix(PREFIX).removeprefix("/gradio_api")
        if tail.startswith(SHUT):
            await _answer(send, 404, "There is nothing here.")
            return
        user = await sync_to_async(signed_in_user, thread_sensitive=False)(
            headers.get("cookie", "")
        )
        if user is None:
            await _answer(send, 401, "Sign in to chat with a model.")
            return
        trusted = {
            **scope,
            USER: user,
            "headers": _without_forwarding(scope["headers"]),
        }
        await self.inner(trusted, receive, _framed(send))


def signed_in_user(cookies: str) -> str | None:
    """The id of the user whose session the cookies carry, checked as Django does."""
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME)
    if not key:
        return None
    close_old_connections()
    try:
        request = HttpRequest()
        request.session = SessionStore(key)
        user = get_user(request)
        return str(user.pk) if user.is_authenticated and user.is_active else None
    finally:
        close_old_connections()


def _same_origin(headers: dict[str, str], host: str) -> bool:
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return headers.get("sec-fetch-mode") == "navigate" and "origin" not in headers
    origin = headers.get("origin")
    if origin is None:
        return True
    return urlsplit(origin).netloc == host or origin in settings.CSRF_TRUSTED_ORIGINS


def _without_forwarding(
    headers: list[tuple[bytes, bytes]],
) -> list[tuple[bytes, bytes]]:
    """Gradio believes X-Forwarded-*; the site decides by itself where it is."""
    return [(k, v) for k, v in headers if not k.lower().startswith(b"x-forwarded")]


def _framed(send: Callable) -> Callable:
    async def wrapped(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message.get("headers", []),
                (b"x-frame-options", b"SAMEORIGIN"),
                (b"x-content-type-options", b"nosniff"),
                (b"referrer-policy", b"same-origin"),
                (b"content-security-policy", POLICY.encode()),
            ]
        await send(message)

    return wrapped


async def _answer(send: Callable, status: int, sentence: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence.encode()})


async def _redirect(send: Callable, path: str, query: bytes) -> None:
    location = path.encode() + (b"?" + query if query else b"")
    await send(
        {
            "type": "http.response.start",
            "status": 308,
            "headers": [(b"location", location)],
        }
    )
    await send({"type": "http.response.body", "body": b""})
