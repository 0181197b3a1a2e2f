"""How the site speaks to the chat runtime: an OpenAI-compatible HTTP service.

Ids of models there: a finished model's id, or "base:" and a base model's id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
from django.conf import settings
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

TIMEOUT = httpx.Timeout(10.0, read=300.0)  # loading a large model takes its time

UNREACHABLE = _(
    "The chat service does not answer. It may still be starting; try again in a minute. "
    "If it stays so, the operator can see why in its log."
)


class RuntimeRefusal(Exception):
    """The runtime cannot answer; the message is a sentence for the person."""


def runtime_token() -> str:
    """The token that playground and runtime share: set, or derived from the secret key."""
    if settings.CHAT_RUNTIME_TOKEN:
        return settings.CHAT_RUNTIME_TOKEN
    return salted_hmac("webapp.playground.runtime", "token").hexdigest()


def stream_answer(
    *, model: str, messages: list[dict[str, str]], sampling: dict[str, Any]
) -> Iterator[str]:
    """Pieces of the answer as they are written; raises RuntimeRefusal with a sentence.

    Closing the iterator stops the model.
    """
    question = {"model": model, "messages": messages, "stream": True, **sampling}
    headers = {"Authorization": f"Bearer {runtime_token()}"}
    url = f"{settings.CHAT_RUNTIME_URL}/v1/chat/completions"
    try:
        with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
            with client.stream("POST", url, json=question, headers=headers) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise RuntimeRefusal(_sentence(answer))
                yield from _pieces(answer)
    except httpx.HTTPError as problem:
        raise RuntimeRefusal(str(UNREACHABLE)) from problem


def _pieces(answer: httpx.Response) -> Iterator[str]:
    for line in answer.iter_lines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            raise RuntimeRefusal(event["error"]["message"])
        if piece := event["choices"][0]["delta"].get("content"):
            yield piece


def _sentence(answer: httpx.Response) -> str:
    try:
        return answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return str(UNREACHABLE)
