"""The site does not wait for the playground; the playground's requests do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from webapp.playground.background import MadeInBackground


class Lifespan:
    """Plays the server's part."""

    def __init__(self, application: MadeInBackground) -> None:
        self.said: list[str] = []
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.create_task(
            application({"type": "lifespan"}, self.inbox.get, self._send)
        )

    async def _send(self, message: dict[str, Any]) -> None:
        self.said.append(message["type"])

    async def tell(self, event: str) -> None:
        await self.inbox.put({"type": f"lifespan.{event}"})
        while f"lifespan.{event}.complete" not in self.said:
            await asyncio.sleep(0.01)


def test_the_site_is_up_before_the_panel_and_the_panel_ends_with_it() -> None:
    may_finish, life = threading.Event(), []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        life.append("entered")
        yield
        life.append("left")

    def make() -> FastAPI:
        may_finish.wait(10)
        panel = FastAPI(lifespan=lifespan)
        panel.get("/")(lambda: "panel")
        return panel

    async def play() -> None:
        application = MadeInBackground(make)
        server = Lifespan(application)
        await server.tell("startup")  # complete, though nothing is made
        assert life == []
        transport = ASGITransport(application)
        async with AsyncClient(transport=transport, base_url="http://x") as client:
            asked = asyncio.create_task(client.get("/"))
            await asyncio.sleep(0.05)
            assert not asked.done()
            may_finish.set()
            assert (await asked).json() == "panel"
        await server.tell("shutdown")
        assert life == ["entered", "left"]

    asyncio.run(play())


def test_a_panel_that_cannot_be_made_is_a_sentence() -> None:
    def make() -> FastAPI:
        raise RuntimeError("on purpose")

    async def play() -> None:
        transport = ASGITransport(MadeInBackground(make))
        async with AsyncClient(transport=transport, base_url="http://x") as client:
            answer = await client.get("/")
        assert answer.status_code == 503
        assert "could not be loaded" in answer.text

    asyncio.run(play())
