"""A person at a browser: opens pages, keeps pictures, notices what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.browser.installation import RESULTS

WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 390, "height": 844}
PATIENCE_MS = 120_000  # for one thing on a page of a busy machine


class Visitor:
    """One browser context, which has its own cookies, and one page in it."""

    def __init__(self, browser: Any, url: str) -> None:
        self.url = url
        self.context = browser.new_context(
            base_url=url, viewport=WIDE, locale="en", color_scheme="light"
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.set_default_navigation_timeout(PATIENCE_MS)
        self.wrong: list[str] = []
        self.outside: list[str] = []
        self.context.on("request", self._asked)
        self.context.on("console", self._said)
        self.context.on("weberror", lambda it: self.wrong.append(str(it.error)))
        self.page = self.context.new_page()

    def _asked(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss"):
            if parts.netloc != urlsplit(self.url).netloc:
                self.outside.append(request.url)

    def _said(self, line: Any) -> None:
        if line.type == "error":
            self.wrong.append(f"{line.page.url if line.page else ''}: {line.text}")

    def picture(self, name: str, *, whole: bool = True) -> Path:
        """A screenshot of the page as it is."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}.png"
        self.page.screenshot(path=str(path), full_page=whole, animations="disabled")
        return path

    def pictures(self, name: str, *, whole: bool = True) -> None:
        """Wide and light, then as on a phone in the dark."""
        self.picture(f"{name}-wide", whole=whole)
        self.page.set_viewport_size(NARROW)
        self.page.emulate_media(color_scheme="dark")
        self.picture(f"{name}-narrow-dark", whole=whole)
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(WIDE)

    def until(self, holds: Callable[[], object], milliseconds: float) -> None:
        """Wait while the page goes on living."""
        waited = 0.0
        while not holds():
            assert waited < milliseconds, f"waited in vain on {self.page.url}"
            self.page.wait_for_timeout(250)
            waited += 250

    def leave(self) -> None:
        """Away to an empty page. What the page says while it is closed is not held against
        it: a chat panel that still listens complains of its broken connection."""
        said = len(self.wrong)
        self.page.goto("about:blank")
        del self.wrong[said:]

    def nothing_wrong(self) -> None:
        """No error in the console, and nothing asked of another machine."""
        assert not self.wrong, "\n".join(self.wrong)
        assert not self.outside, "\n".join(self.outside)
