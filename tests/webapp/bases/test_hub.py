from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.webapp.bases.folders import make_folder
from tests.webapp.jobs.rows import make_workspace
from webapp.bases.hub import bring
from webapp.bases.models import BaseModel
from webapp.bases.services import bring_base, claim_base, register_hub, retry_base
from webapp.core.errors import Refusal

HUB_ID = "lab/small"


class Hub(BaseHTTPRequestHandler):
    """The two addresses of the hub that are asked for, over a folder of this machine."""

    def __init__(self, state: dict[str, Any], *args: Any) -> None:
        self.state = state
        super().__init__(*args)

    def do_GET(self) -> None:
        state = self.state
        state["asked"].append(self.path)
        if self.path == f"/api/models/{HUB_ID}":
            self.answer(json.dumps(state["facts"]).encode(), state["status"])
            return
        name = self.path.removeprefix(f"/{HUB_ID}/resolve/abc/")
        path = state["folder"] / name
        if "/" in name or not path.is_file() or name == state["gone"]:
            self.answer(b"", 404)
        else:
            self.answer(path.read_bytes(), 200, state["short"])

    def answer(self, body: bytes, status: int, short: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - short])

    def log_message(self, *args: Any) -> None:
        """Tests are silent."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    folder = make_folder(tmp_path / "hub")
    (folder / "modeling.py").write_text("raise SystemExit")
    names = [{"rfilename": path.name} for path in folder.iterdir()]
    names.append({"rfilename": "../config.json"})
    state: dict[str, Any] = {
        "folder": folder,
        "status": 200,
        "short": 0,
        "gone": "",
        "asked": [],
        "facts": {"sha": "abc", "siblings": names, "cardData": {"license": "mit"}},
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, state))
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_is_brought(hub: dict[str, Any], tmp_path: Path) -> None:
    folder, licence = bring(HUB_ID, tmp_path / "bases" / "one")
    assert licence == "mit"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert not any("modeling.py" in path or ".." in path for path in hub["asked"])
    assert hub["asked"][-1].endswith("model.safetensors")  # the large one is the last
    for path in folder.iterdir():
        assert path.read_bytes() == (hub["folder"] / path.name).read_bytes()


def test_a_second_bringing_replaces_the_first(
    hub: dict[str, Any], tmp_path: Path
) -> None:
    folder, _licence = bring(HUB_ID, tmp_path / "one")
    (folder / "stale.json").write_text("{}")
    bring(HUB_ID, tmp_path / "one")
    assert not (folder / "stale.json").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": 404}, "no model lab/small"),
        ({"status": 401}, "agreement"),
        ({"status": 403}, "agreement"),
        ({"status": 500}, "cannot be reached"),
        ({"facts": []}, "cannot be reached"),
        ({"facts": {"siblings": [{"rfilename": "pytorch_model.bin"}]}}, "safetensors"),
        ({"short": 5}, "cannot be reached"),
        ({"gone": "tokenizer.json"}, "lists the file tokenizer.json"),
    ],
)
def test_what_the_hub_refuses_is_a_sentence(
    hub: dict[str, Any], tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    hub.update(change)
    with pytest.raises(Refusal, match=says):
        bring(HUB_ID, tmp_path / "one")
    assert not list(tmp_path.glob("one*")), "half a model was left behind"


def test_program_code_is_refused_before_the_weights(
    hub: dict[str, Any], tmp_path: Path
) -> None:
    make_folder(hub["folder"], auto_map={"AutoModelForCausalLM": "modeling.Mine"})
    with pytest.raises(Refusal, match="auto_map"):
        bring(HUB_ID, tmp_path / "one")
    assert not any("safetensors" in path for path in hub["asked"])


@pytest.mark.django_db
def test_a_hub_id_ends_ready(hub: dict[str, Any], settings: Any) -> None:
    base = register_hub(workspace=make_workspace(), hub_id=HUB_ID)
    assert base.state == BaseModel.State.WAITING
    assert claim_base() == base
    assert claim_base() is None, "two workers would bring it"
    bring_base(base_id=base.id)
    base.refresh_from_db()
    assert (base.state, base.licence, base.reason) == ("ready", "mit", "")
    assert base.passport["family"] == "Llama"
    assert Path(base.folder).is_relative_to(settings.DATA)


@pytest.mark.django_db
def test_an_unreachable_hub_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    base = register_hub(workspace=make_workspace(), hub_id=HUB_ID)
    bring_base(base_id=base.id)
    base.refresh_from_db()
    assert base.state == BaseModel.State.REFUSED
    assert "cannot be reached" in base.reason
    assert "register the folder instead" in base.reason
    retry_base(base=base)
    assert claim_base() == base
