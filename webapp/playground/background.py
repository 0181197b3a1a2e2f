"""The playground is made while the site answers already.

Importing gradio takes seconds of processor time. So the ASGI application starts without
it, makes it in a thread, and requests for it wait until it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


class MadeInBackground:
    """An ASGI application that stands for a Starlette one until that is made."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._inner: Any = None
        self._life: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._closing = asyncio.Event()

    async def __call__(
        self, scope: dict[str, Any], receive: Callable, send: Callable
    ) -> None:
        """Serve the site's lifespan, or hand a request on once all is there."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        self._begin()
        await self._ready.wait()
        if self._inner is None:
            await _answer(send, "The chat panel could not be loaded; see the log.")
            return
        await self._inner(scope, receive, send)

    def _begin(self) -> None:
        if self._life is None:
            self._life = asyncio.create_task(self._live())

    async def _lifespan(self, receive: Callable, send: Callable) -> None:
        await receive()  # lifespan.startup
        self._begin()
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        self._closing.set()
        if self._life:
            # A thread that still imports cannot be stopped; the process ends with it.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._life, 2.0)
        await send({"type": "lifespan.shutdown.complete"})

    async def _live(self) -> None:
        """One task enters and leaves the inner lifespan, as its task groups demand."""
        try:
            inner = await asyncio.to_thread(self._make)
            async with inner.router.lifespan_context(inner):
                self._inner = inner
                self._ready.set()
                await self._closing.wait()
        except Exception:
            log.exception("the playground could not be loaded")
        finally:
            self._ready.set()


async def _answer(send: Callable, sentence: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": sentence.encode()})
