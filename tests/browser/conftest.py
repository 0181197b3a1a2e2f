"""A whole installation and a browser in front of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.installation import Installation
from tests.browser.visitor import Visitor
from tests.conftest import missing

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, which asks nothing of anybody by itself."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def furnish() -> Callable[[Installation], None]:
    """What is done before the start; a module may put something else in its place."""
    return lambda installation: None


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    furnish: Callable[[Installation], None],
) -> Iterator[Installation]:
    """Everything runs; at the end of a module everything has ended."""
    name = Path(request.node.name).stem
    made = Installation(tmp_path_factory.mktemp(name))
    furnish(made)
    try:
        made.start()
        yield made
    finally:
        if made.process:
            try:
                made.end()
            finally:
                made.keep_log(name)


@pytest.fixture(scope="module")
def visit(browser: Any, installation: Installation) -> Iterator[Callable[[], Visitor]]:
    """Open the site as somebody new; each has cookies of their own."""
    opened: list[Visitor] = []

    def open_one() -> Visitor:
        opened.append(Visitor(browser, installation.url))
        return opened[-1]

    yield open_one
    for visitor in opened:
        visitor.context.close()
