"""Nothing under /playground/ is reached past the gate."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.test.utils import override_settings

from webapp.playground.gate import USER, Gate, signed_in_user

HOST = "localhost"


class Inner:
    """Stands where Gradio stands: remembers what reached it."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def ask(
    gate: Gate, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request through the gate."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    given = {"host": HOST, **(headers or {})}
    scope = {
        "type": "http",
        "path": path,
        "method": method,
        "query_string": b"model=1",
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
    }
    asyncio.run(gate(scope, receive, send))
    names = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], names, sent[1]["body"]


@pytest.fixture
def cookie(transactional_db: None) -> str:
    user = get_user_model().objects.create_user(email="alice@example.org")
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


def test_a_signed_in_person_comes_through(cookie: str) -> None:
    inner = Inner()
    status, headers, body = ask(Gate(inner), "/playground/", {"cookie": cookie})
    assert (status, body) == (200, b"inside")
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert inner.scopes[0][USER]


@pytest.mark.parametrize(
    "path",
    [
        "/playground/",
        "/playground/config",
        "/playground/gradio_api/queue/join",
        "/playground/gradio_api/heartbeat/x",
        "/playground/gradio_api/cancel",
        "/playground/gradio_api/openapi.json",
        "/playground/theme.css",
        "/playground/static/x.js",
    ],
)
def test_an_anonymous_person_reaches_nothing(path: str, transactional_db: None) -> None:
    inner = Inner()
    for headers in ({}, {"cookie": "sessionid=" + "a" * 32}):
        assert ask(Gate(inner), path, headers)[0] == 401
    assert not inner.scopes


def test_a_signed_out_session_is_worth_nothing(cookie: str) -> None:
    inner = Inner()
    user = get_user_model().objects.get()
    user.set_password("another one")
    user.save()
    assert signed_in_user(cookie) is None
    assert ask(Gate(inner), "/playground/", {"cookie": cookie})[0] == 401


def test_an_inactive_person_is_not_let_in(cookie: str) -> None:
    assert signed_in_user(cookie)
    get_user_model().objects.update(is_active=False)
    assert signed_in_user(cookie) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    ],
)
def test_another_site_is_refused_even_with_the_cookie(
    cookie: str, headers: dict[str, str]
) -> None:
    inner = Inner()
    path = "/playground/gradio_api/queue/join"
    asked = {"cookie": cookie, **headers}
    assert ask(Gate(inner), path, asked, "POST")[0] == 403
    assert not inner.scopes
    own = {"cookie": cookie, "origin": f"http://{HOST}"}
    assert ask(Gate(inner), path, own, "POST")[0] == 200


def test_a_foreign_host_name_is_refused(cookie: str) -> None:
    inner = Inner()
    with override_settings(ALLOWED_HOSTS=[HOST]):
        asked = {"cookie": cookie, "host": "evil.example"}
        assert ask(Gate(inner), "/playground/", asked)[0] == 400
    assert not inner.scopes


@pytest.mark.parametrize(
    "path", ["/upload", "/file=/etc/passwd", "/file/x", "/proxy=x"]
)
def test_file_routes_are_shut(cookie: str, path: str) -> None:
    inner = Inner()
    for prefix in ("/playground", "/playground/gradio_api"):
        assert ask(Gate(inner), prefix + path, {"cookie": cookie})[0] == 404
    assert not inner.scopes


def test_the_prefix_without_its_slash_leads_there(transactional_db: None) -> None:
    status, headers, _ = ask(Gate(Inner()), "/playground")
    assert (status, headers["location"]) == (308, "/playground/?model=1")


def test_forwarded_headers_do_not_reach_gradio(cookie: str) -> None:
    inner = Inner()
    ask(Gate(inner), "/playground/", {"cookie": cookie, "x-forwarded-host": "evil"})
    assert not any(k.startswith(b"x-forwarded") for k, _ in inner.scopes[0]["headers"])
