"""The ASGI application: Django, and the playground behind its gate, in one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

django_application = get_asgi_application()

# Only now: the playground reads Django's models.
from webapp.playground.background import MadeInBackground  # noqa: E402
from webapp.playground.gate import PREFIX, Gate  # noqa: E402


def make_playground() -> Any:
    """Gradio is imported here and not above: it takes seconds."""
    from webapp.playground.mount import make_playground as make

    return make()


playground = MadeInBackground(make_playground)
gate = Gate(playground)


async def application(scope: dict[str, Any], receive: Callable, send: Callable) -> None:
    """Hand a request to the playground or to Django; the lifespan is the playground's."""
    if scope["type"] == "lifespan":
        await playground(scope, receive, send)
    elif scope["path"] == PREFIX or scope["path"].startswith(PREFIX + "/"):
        await gate(scope, receive, send)
    else:
        await django_application(scope, receive, send)
