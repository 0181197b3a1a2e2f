"""The chat runtime over HTTP: shape, refusals, streaming."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.training import tiny
from workers.chat import catalogue
from workers.chat.loaded import LoadedModels
from workers.chat.server import make_app

pytestmark = pytest.mark.slow  # needs torch

TOKEN = {"Authorization": "Bearer secret"}
ASK = {"model": "m", "messages": [{"role": "user", "content": "bako"}], "max_tokens": 5}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    folder = tiny.base(tmp_path / "model")

    def folder_of(model: str) -> Path:  # the database is another test's subject
        if model != "m":
            raise catalogue.Unknown(model)
        return folder

    monkeypatch.setattr(catalogue, "folder_of", folder_of)
    with TestClient(make_app(LoadedModels(), "secret")) as client:
        yield client


def test_health_needs_no_token_and_the_rest_does(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/v1/models").status_code == 401
    assert client.post("/v1/chat/completions", json=ASK).status_code == 401
    wrong = {"Authorization": "Bearer other"}
    assert (
        client.post("/v1/chat/completions", json=ASK, headers=wrong).status_code == 401
    )


def test_a_stream_carries_what_a_whole_answer_says(client: TestClient) -> None:
    ask = {**ASK, "temperature": 0}
    whole = client.post("/v1/chat/completions", json=ask, headers=TOKEN).json()
    with client.stream(
        "POST", "/v1/chat/completions", json={**ask, "stream": True}, headers=TOKEN
    ) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in events)
    assert text == whole["choices"][0]["message"]["content"]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "other"}, 404, "not there"),
        ({"messages": []}, 400, "role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "role"),
        ({"temperature": 9}, 400, "temperature must be between 0.0 and 2.0"),
        ({"max_tokens": "many"}, 400, "max_tokens"),
        ({"messages": "hello"}, 400, "Not a chat question"),
    ],
)
def test_a_wrong_question_is_refused_in_words(
    client: TestClient, change: dict, status: int, words: str
) -> None:
    answer = client.post("/v1/chat/completions", json={**ASK, **change}, headers=TOKEN)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def test_a_damaged_model_is_said_in_the_stream(
    client: TestClient, tmp_path: Path
) -> None:
    (tmp_path / "model" / "model.safetensors").write_bytes(b"damaged")
    with client.stream(
        "POST", "/v1/chat/completions", json={**ASK, "stream": True}, headers=TOKEN
    ) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert "could not answer" in json.loads(lines[-1][6:])["error"]["message"]
