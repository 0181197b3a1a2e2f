"""What strangers may write into an address, and what answers it."""

from __future__ import annotations

import pytest
from django.test import RequestFactory

from tests.webapp.jobs.rows import make_dataset
from tests.webapp.world import World
from webapp.core.forms import LONGEST_QUERY, asked_number, asked_text


def test_a_text_is_cut_and_has_no_nul() -> None:
    request = RequestFactory().get("/", {"q": " a\0b ", "long": "x" * 5000})
    assert asked_text(request) == "ab"
    assert len(asked_text(request, "long")) == LONGEST_QUERY


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("", None), ("-1", None), ("9" * 5000, None)]
)
def test_a_number_is_a_number(text: str, number: int | None) -> None:
    assert asked_number(RequestFactory().get("/", {"n": text}), "n") == number


def test_a_number_of_five_thousand_digits_breaks_no_page(world: World) -> None:
    made = make_dataset(world.workspace)
    url = world.url("dataset", made.id)
    statuses = [
        world.client("vera").get(url, {"version": version}).status_code
        for version in ("9" * 5000, "9" * 12, "1")
    ]
    assert statuses == [200, 404, 200]


def test_a_part_asked_for_after_the_session_ended_loads_the_page(world: World) -> None:
    url = world.url("job-list")
    part = world.client("anonymous").get(url, headers={"HX-Request": "true"})
    assert (part.status_code, part["HX-Refresh"]) == (204, "true")
    whole = world.client("anonymous").get(url)
    assert whole.status_code == 302 and whole["Location"].startswith("/sign-in/")
    known = world.client("vera").get(url, headers={"HX-Request": "true"})
    assert known.status_code == 200 and "HX-Refresh" not in known


@pytest.mark.parametrize("who", ["vera", "charlie", "anonymous"])
def test_every_answer_says_that_nothing_comes_from_outside(
    world: World, who: str
) -> None:
    for url in (world.url("job-list"), "/nothing/here/", "/healthz"):
        answer = world.client(who).get(url)
        policy = answer.headers["Content-Security-Policy"]
        scripts = next(p for p in policy.split("; ") if p.startswith("script-src"))
        assert scripts == "script-src 'self'", (url, answer.status_code)
        assert "default-src 'self'" in policy and "object-src 'none'" in policy
