"""The HTTP side of the chat runtime, in the shape of OpenAI's chat completions.

    GET  /health                 nothing asked of models or database
    GET  /v1/models              what can be chatted with
    POST /v1/chat/completions    an answer, whole or streamed as server-sent events

Every address but /health needs the shared token. A client that goes away stops the model.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import threading
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from workers.chat import catalogue
from workers.chat.loaded import LoadedModels, TooLarge

log = logging.getLogger(__name__)

GIVE_BACK_EVERY = 5.0  # seconds
# Each: default, smallest, largest, type.
SAMPLING = {
    "max_tokens": (256, 1, 4096, int),
    "temperature": (0.7, 0.0, 2.0, float),
    "top_p": (0.95, 0.0, 1.0, float),
    "repetition_penalty": (1.0, 0.5, 2.0, float),
}
ROLES = {"system", "user", "assistant"}


class Refused(Exception):
    """A question that cannot be answered: status, code and a sentence."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.body = {"error": {"message": sentence, "type": code, "code": code}}


def make_app(models: LoadedModels, token: str) -> Starlette:
    """The application; `token` is asked of every client."""
    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", list_models),
            Route("/v1/chat/completions", complete, methods=["POST"]),
        ],
        exception_handlers={Refused: refused},
        lifespan=_lifespan,
    )
    app.state.models, app.state.token = models, token
    return app


async def health(_: Request) -> Response:
    """Whether the process answers; asks nothing else."""
    return JSONResponse({"status": "ok"})


async def list_models(request: Request) -> Response:
    """What can be chatted with."""
    _authorise(request)
    found = await run_in_threadpool(catalogue.names)
    data = [{**row, "object": "model", "owned_by": "mothertongue"} for row in found]
    return JSONResponse({"object": "list", "data": data})


async def complete(request: Request) -> Response:
    """An answer to a conversation, whole or streamed."""
    _authorise(request)
    question = await _question(request)
    try:
        folder = await run_in_threadpool(catalogue.folder_of, question["model"])
    except catalogue.Unknown:
        raise Refused(
            404, "model_not_found", "This model is not there any more."
        ) from None
    stop = threading.Event()
    pieces = _pieces(request.app.state.models, folder, question, stop)
    if question["stream"]:
        events = _events(pieces, question["model"], stop)
        return StreamingResponse(events, media_type="text/event-stream")
    text = "".join([piece async for piece in pieces])
    return JSONResponse(_completion(question["model"], text))


async def refused(_: Request, problem: Exception) -> Response:
    """A Refused as OpenAI's clients expect it."""
    assert isinstance(problem, Refused)
    return JSONResponse(problem.body, status_code=problem.status)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    async def give_back() -> None:
        while True:
            await asyncio.sleep(GIVE_BACK_EVERY)
            await run_in_threadpool(app.state.models.give_back)

    task = asyncio.create_task(give_back())
    yield
    task.cancel()


def _authorise(request: Request) -> None:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), request.app.state.token.encode()):
        raise Refused(401, "invalid_token", "This service needs its token.")


async def _question(request: Request) -> dict[str, Any]:
    """The checked question: model, messages, stream, sampling."""
    try:
        plain = json.loads(await request.body())
        messages = [
            {"role": str(m["role"]), "content": str(m["content"])}
            for m in plain["messages"]
        ]
        model = str(plain["model"])
    except (ValueError, KeyError, TypeError) as problem:
        raise Refused(
            400, "invalid_request", f"Not a chat question: {problem}"
        ) from None
    if not messages or any(m["role"] not in ROLES for m in messages):
        raise Refused(400, "invalid_request", "Messages need a role that is known.")
    sampling = {}
    for name, (default, low, high, kind) in SAMPLING.items():
        value = plain.get(name, default)
        if not isinstance(value, (int, float)) or not low <= value <= high:
            raise Refused(
                400, "invalid_request", f"{name} must be between {low} and {high}."
            )
        sampling[name] = kind(value)
    if isinstance(plain.get("seed"), int):
        sampling["seed"] = plain["seed"]
    return {
        "model": model,
        "messages": messages,
        "stream": bool(plain.get("stream")),
        "sampling": sampling,
    }


async def _pieces(
    models: LoadedModels, folder: Path, question: dict[str, Any], stop: threading.Event
) -> AsyncGenerator[str]:
    """The answer's pieces, written in a thread; what goes wrong comes as Refused."""
    written = models.answer(folder, question["messages"], stop, question["sampling"])
    try:
        async for piece in iterate_in_threadpool(written):
            yield piece
    except TooLarge:
        raise Refused(
            503,
            "out_of_memory",
            "The model does not fit into the memory that is free now. Try again when the "
            "running jobs have ended, or ask the operator for a larger machine.",
        ) from None
    except Exception:
        log.exception("no answer from %s", folder)
        raise Refused(
            500, "failed", "The model could not answer. The log has the details."
        ) from None
    finally:
        stop.set()
        written.close()  # gives the turn back, also when the client went away


async def _events(
    pieces: AsyncGenerator[str], model: str, stop: threading.Event
) -> AsyncIterator[str]:
    """Server-sent events; the last one names the reason of the end."""
    head = {
        "id": f"chatcmpl-{uuid.uuid4()}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
    }

    def event(delta: dict[str, str], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

    try:
        yield event({"role": "assistant"})
        async for piece in pieces:
            yield event({"content": piece})
        yield event({}, "stop")
        yield "data: [DONE]\n\n"
    except Refused as refused:
        yield f"data: {json.dumps(refused.body)}\n\n"
    finally:
        stop.set()
        await pieces.aclose()


def _completion(model: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": f"chatcmpl-{uuid.uuid4()}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
