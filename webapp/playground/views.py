"""The page that frames the playground."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import urlencode

from webapp.core.access import for_role
from webapp.playground.gate import PREFIX
from webapp.playground.selectors import chat_models
from webapp.workspaces.models import Role


@for_role(Role.VIEWER)
def chat(request: HttpRequest) -> HttpResponse:
    """Chat with a finished model (?model=ID)."""
    slug = request.workspace.slug
    models = chat_models(str(request.user.pk), slug)
    query = urlencode({"workspace": slug, "model": request.GET.get("model", "")})
    return render(
        request,
        "playground/chat.html",
        {"models": models, "frame": f"{PREFIX}/?{query}"},
    )
