from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.webapp.bases.folders import byte_fallback, make_folder
from tests.webapp.jobs.rows import make_target
from tests.webapp.world import World
from webapp.bases.models import BaseModel
from webapp.bases.services import register_folder, register_hub
from webapp.bases.views import PAGE

pytestmark = pytest.mark.django_db

SEES = {"alice": 200, "eve": 200, "vera": 200, "charlie": 404, "anonymous": 302}
ACTS = {"alice": 302, "eve": 302, "vera": 403, "charlie": 404, "anonymous": 302}
CHANGES = {"alice": 200, "eve": 200, "vera": 403, "charlie": 404, "anonymous": 302}


@pytest.fixture
def base(world: World, tmp_path: Path) -> BaseModel:
    folder = make_folder(tmp_path / "small", byte_fallback())
    return register_folder(workspace=world.workspace, path=folder)


@pytest.mark.parametrize("who", SEES)
def test_who_sees_bases(world: World, base: BaseModel, who: str) -> None:
    client = world.client(who)
    for url in (
        world.url("base-list"),
        world.url("base", base.id),
        world.url("base-try", base.id),
        world.url("base-state", base.id),
    ):
        assert client.get(url).status_code == SEES[who], url
    assert client.get(world.url("base-new")).status_code == CHANGES[who]


@pytest.mark.parametrize("who", ACTS)
def test_who_changes_bases(world: World, base: BaseModel, who: str) -> None:
    client = world.client(who)
    for name in ("base-retry", "base-delete", "base-restore"):
        assert client.post(world.url(name, base.id)).status_code == ACTS[who], name
    data = {"origin": "hub", "address": "lab/small"}
    assert client.post(world.url("base-new"), data).status_code == ACTS[who]
    changed = BaseModel.objects.filter(address="lab/small").exists()
    assert changed is (who in ("alice", "eve"))


def test_a_base_of_another_workspace_is_not_there(
    world: World, base: BaseModel
) -> None:
    url = world.url("base", base.id).replace("/riverside/", "/elsewhere/")
    assert world.client("charlie").get(url).status_code == 404


def test_a_folder_is_registered(world: World, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine")
    data = {"origin": "folder", "address": str(folder), "licence": "mit"}
    data |= {"final_learning_rate": "0.00003"}
    response = world.client("eve").post(world.url("base-new"), data, follow=True)
    page = response.content.decode()
    assert response.status_code == 200
    assert "mine" in page and "Byte-level BPE" in page and "mit" in page
    kept = BaseModel.objects.get()
    assert kept.passport["tokenizer_sha256"] in page
    assert kept.final_learning_rate == 3e-5 and "0.00003" in page


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"origin": "folder", "address": "/nowhere"}, "There is no folder"),
        ({"origin": "hub", "address": "small"}, "organisation/model"),
        ({"origin": "folder", "address": ""}, "required"),
        ({"origin": "elsewhere", "address": "a/b"}, "not one of the available"),
    ],
)
def test_a_refusal_stands_at_the_field(
    world: World, data: dict[str, str], says: str
) -> None:
    response = world.client("eve").post(world.url("base-new"), data)
    assert response.status_code == 422
    assert says in response.content.decode()
    assert not response.context["form"].non_field_errors()
    assert not BaseModel.objects.exists()


def test_the_tokenizer_is_tried_with_and_without_a_script(
    world: World, base: BaseModel
) -> None:
    text = "the cat ئ <b>"
    for name in ("base", "base-try"):
        page = world.client("vera").get(world.url(name, base.id), {"text": text})
        html = page.content.decode()
        assert 'piece-split-2">ئ</span>' in html
        assert "&lt;" in html and "<b>" not in html
        assert "".join(p["text"] for p in page.context["ribbon"].patches) == text
    assert "<html" not in html, "the part is not a page"


def test_a_long_text_is_cut_off_in_words(world: World, base: BaseModel) -> None:
    url = world.url("base-try", base.id)
    page = world.client("vera").get(url, {"text": "a " * 1500}).content.decode()
    assert "left out" in page
    assert (
        "left out" not in world.client("vera").get(url, {"text": "a"}).content.decode()
    )


def test_it_is_asked_again_only_while_a_base_waits(world: World) -> None:
    base = register_hub(workspace=world.workspace, hub_id="lab/small")
    client = world.client("eve")
    waiting = client.get(world.url("base-state", base.id))
    assert b"hx-trigger" in waiting.content and "HX-Refresh" not in waiting.headers
    BaseModel.objects.update(state="refused", reason="The hub has no model lab/small.")
    refused = client.get(world.url("base-state", base.id))
    assert b"hx-trigger" not in refused.content and refused.headers["HX-Refresh"]
    page = client.get(world.url("base", base.id)).content.decode()
    assert "The hub has no model lab/small." in page and "Try again" in page
    looking = world.client("vera").get(world.url("base", base.id)).content.decode()
    assert "Try again" not in looking
    client.post(world.url("base-retry", base.id))
    base.refresh_from_db()
    assert base.state == BaseModel.State.WAITING


def test_deleting_can_be_undone(world: World, base: BaseModel) -> None:
    client = world.client("eve")
    page = client.post(world.url("base-delete", base.id), follow=True).content.decode()
    restore = world.url("base-restore", base.id)
    assert restore in page
    assert client.get(world.url("base", base.id)).status_code == 404
    assert client.post(restore, follow=True).status_code == 200


def test_search_filter_and_order(world: World, base: BaseModel) -> None:
    register_hub(workspace=world.workspace, hub_id="lab/other")

    def names(**asked: str) -> list[str]:
        page = world.client("vera").get(world.url("base-list"), asked)
        return [row.name for row in page.context["page"]]

    assert names() == ["other", "small"]
    assert names(sort="name") == ["other", "small"]
    assert names(sort="oldest") == ["small", "other"]
    assert names(state="ready") == ["small"]
    assert names(q="lab") == ["other"]
    assert names(q="nothing") == []
    assert names(sort="bogus", state="bogus", page="x") == ["other", "small"]


def test_the_list_asks_the_database_the_same_number_of_times(world: World) -> None:
    client, counts = world.client("vera"), []
    for _round in range(2):
        for _number in range(5):
            make_target(world.workspace)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(world.url("base-list")).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    for _number in range(PAGE):
        make_target(world.workspace)
    assert len(client.get(world.url("base-list")).context["page"]) == PAGE


def test_an_empty_workspace_says_what_a_base_is(world: World) -> None:
    page: Any = world.client("eve").get(world.url("base-list")).content.decode()
    assert "No base model yet" in page and world.url("base-new") in page
