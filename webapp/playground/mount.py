"""Gradio as an ASGI application under /playground."""

from __future__ import annotations

import fastapi
import gradio as gr
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join

from webapp.playground.blocks import make_blocks, theme
from webapp.playground.gate import PREFIX, USER


def make_playground() -> fastapi.FastAPI:
    """The mounted panel; who asks is known from the gate."""

    async def user(request: fastapi.Request) -> str | None:
        return request.scope.get(USER)

    parent = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    return gr.mount_gradio_app(
        parent,
        make_blocks(),
        path=PREFIX,
        auth_dependency=user,
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        enable_monitoring=False,
        pwa=False,
        show_error=False,
        theme=theme(),
        head=head(),
    )


def head() -> str:
    """The site's letters and colours for the frame, and the script that picks a set."""
    sheets = ("fonts", "tokens", "playground")
    links = format_html_join(
        "",
        '<link rel="stylesheet" href="{}">',
        [(static(f"css/{name}.css"),) for name in sheets],
    )
    return links + format_html('<script src="{}"></script>', static("js/theme.js"))
