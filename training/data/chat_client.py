"""A client for chat completions in OpenAI's form, of a service that the operator names.

    MOTHERTONGUE_TRANSLATOR_URL      http://127.0.0.1:8080/v1
    MOTHERTONGUE_TRANSLATOR_MODEL    its model ("default" where it has one only)
    MOTHERTONGUE_TRANSLATOR_KEY      sent as a bearer token where it is set

Address and key come from the worker's environment alone: whoever writes a job cannot send
the key elsewhere, nor make the worker call addresses of its network.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from training.data.conversations import Message
from training.errors import TranslatorUnavailable
from training.settings.needs import SERVICE_PREFIX as PREFIX

# Answers after which asking again can help: too many requests and faults of the service.
PASSING = {408, 409, 425, 429, 500, 502, 503, 504}
MOST_WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class ChatClient:
    """Asks one service, for translations or for what a teacher invents. `attempts` with
    doubling pauses, each of at most `timeout_seconds`."""

    url: str
    model: str = "default"
    key: str = field(default="", repr=False)
    attempts: int = 4
    pause_seconds: float = 1.0
    timeout_seconds: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ
    ) -> ChatClient:
        """The client of the operator's service; raises TranslatorUnavailable."""
        url = environment.get(f"{PREFIX}URL", "").rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise TranslatorUnavailable(
                "No service that writes is named on this worker."
                if not url
                else f"The address of the service that writes, {url!r}, is no http "
                "address."
            )
        return cls(
            url,
            environment.get(f"{PREFIX}MODEL") or "default",
            environment.get(f"{PREFIX}KEY", ""),
        )

    def answer(self, messages: list[Message], *, max_tokens: int = 1024) -> str:
        """The answer's text, likeliest words; raises TranslatorUnavailable."""
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        pause = self.pause_seconds
        for attempt in range(1, self.attempts + 1):
            try:
                return _text_of(self._post(body))
            except urllib.error.HTTPError as problem:
                said = problem.read(200).decode("utf-8", "replace").strip()
                if problem.code not in PASSING or attempt == self.attempts:
                    raise TranslatorUnavailable(
                        f"The service that writes answered with the status "
                        f"{problem.code}: {said}"
                    ) from None
                pause = max(pause, _asked_to_wait(problem.headers))
            except (OSError, http.client.HTTPException) as problem:
                if attempt == self.attempts:
                    reason = getattr(problem, "reason", problem)
                    raise TranslatorUnavailable(
                        f"The service that writes, {self.url}, cannot be reached: "
                        f"{reason}"
                    ) from None
            self.sleep(min(pause, MOST_WAIT_SECONDS))
            pause *= 2
        raise AssertionError("unreachable")

    def _post(self, body: dict[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(  # noqa: S310 - from_environment checks it
            f"{self.url}/chat/completions", json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(  # noqa: S310
            request, timeout=self.timeout_seconds
        ) as response:
            return response.read()


def _asked_to_wait(headers: Any) -> float:
    """Seconds of Retry-After; 0 where it says nothing or a date."""
    value = headers.get("Retry-After", "") if headers else ""
    return float(value) if value.isdigit() else 0.0


def _text_of(body: bytes) -> str:
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        raise TranslatorUnavailable(
            "The service that writes answers in another form than chat completions."
        )
    return text
