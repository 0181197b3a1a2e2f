"""What tests of the engine may use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.training.chat_service import Service


@pytest.fixture
def service() -> Iterator[type[Service]]:
    class Own(Service):
        asked: list[dict] = []
        plan: list[int] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    Own.url = f"http://127.0.0.1:{server.server_port}/v1"  # type: ignore[attr-defined]
    yield Own
    server.shutdown()
    server.server_close()
