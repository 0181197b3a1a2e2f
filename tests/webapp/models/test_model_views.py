from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.http import StreamingHttpResponse
from django.test.utils import CaptureQueriesContext

from tests.webapp.models.rows import make_model, make_real_target
from tests.webapp.world import World
from training.spec import JobSpec
from webapp.bases.models import BaseModel
from webapp.bases.services import delete_base
from webapp.core import files
from webapp.jobs.models import Job
from webapp.models.models import Model
from webapp.models.selectors import INVENTED

pytestmark = pytest.mark.django_db

SEES = {"alice": 200, "eve": 200, "vera": 200, "charlie": 404, "anonymous": 302}
ACTS = {"alice": 302, "eve": 302, "vera": 403, "charlie": 404, "anonymous": 302}


@pytest.fixture
def model(world: World, tmp_path: Path) -> Model:
    return make_model(make_real_target(world.workspace, tmp_path / "base"))


def received(response: StreamingHttpResponse) -> bytes:
    async def collect() -> list[bytes]:
        return [block async for block in response]

    return b"".join(async_to_sync(collect)())


def unzip(response: StreamingHttpResponse) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(received(response)))


@pytest.mark.parametrize("who", SEES)
def test_who_sees_models(world: World, model: Model, who: str) -> None:
    client = world.client(who)
    for url in (
        world.url("model-list"),
        world.url("model", model.id),
        world.url("model-download", model.id),
    ):
        response = client.get(url)
        assert response.status_code == SEES[who], url
        response.close()


@pytest.mark.parametrize("who", ACTS)
def test_who_changes_models(world: World, model: Model, who: str) -> None:
    client = world.client(who)
    for name in ("model-rename", "model-withdraw", "model-restore", "model-as-base"):
        answer = client.post(world.url(name, model.id), {"name": "Bibi"})
        assert answer.status_code == ACTS[who], name
    model.refresh_from_db()
    assert (model.name == "Bibi") is (who in ("alice", "eve"))
    made = BaseModel.objects.filter(origin=BaseModel.Origin.MODEL).count()
    assert made == (who in ("alice", "eve"))


def test_the_card_of_a_model(world: World, model: Model) -> None:
    response = world.client("vera").get(world.url("model", model.id))
    page = response.content.decode()
    ribbons = response.context["ribbons"]
    assert ribbons.before and ribbons.after and ribbons.text.startswith("Juma")
    assert "4.00 → 1.50" in page and "50.0" in page
    assert 'lang="sw" dir="auto">Nzuri sana.' in page
    assert f"{world.url('chat')}?model={model.id}" in page
    assert "AutoModelForCausalLM.from_pretrained" in page
    assert "version 1" in page and world.url("job", model.job_id) in page
    for what in ("model", "adapter", "base"):
        assert f"?what={what}" in page
    assert (
        "Withdraw" not in page and "Rename" not in page and "Teach it more" not in page
    )


def test_invented_conversations_are_listed_and_downloaded(
    world: World, model: Model
) -> None:
    page, url = world.url("model", model.id), world.url("model-download", model.id)
    asked = {"what": "invented"}
    client = world.client("vera")
    assert b"?what=invented" not in client.get(page).content
    assert client.get(url, asked).status_code == 404
    model.job.spec["stages"] = [{"invented_conversations": 5}]
    model.job.save()
    place = files.local_path(f"{model.folder.rpartition('/')[0]}/invented")
    assert place
    place.mkdir()
    (place / INVENTED).write_text('{"messages": [], "teacher": "small"}\n')
    assert b"?what=invented" in client.get(page).content
    response = client.get(url, asked)
    assert response["Content-Disposition"].endswith('-invented.jsonl"')
    assert response["X-Content-Type-Options"] == "nosniff"
    assert received(response) == b'{"messages": [], "teacher": "small"}\n'


def test_the_lineage_names_the_other_models(world: World, model: Model) -> None:
    def page() -> str:
        url = world.url("model", model.id)
        return str(world.client("vera").get(url).content.decode())

    assert "Other models" not in page()
    sibling = BaseModel.objects.create(
        workspace=world.workspace, name="Dada", folder="/sibling"
    )
    model.job.spec = {"resources": {"instruct": "/sibling", "models": ["/away"]}}
    model.job.save()
    assert f'href="{world.url("base", sibling.id)}"' in page()
    assert "not known now" in page()
    delete_base(base=sibling)
    assert f'href="{world.url("base", sibling.id)}"' not in page() and "Dada" in page()


def test_a_model_without_files_or_figures_still_has_a_card(
    world: World, tmp_path: Path
) -> None:
    target = make_real_target(world.workspace, tmp_path / "base")
    model = make_model(target, report={}, adapter=False)
    folder = files.local_path(model.folder)
    assert folder
    shutil.rmtree(folder)
    page = world.client("vera").get(world.url("model", model.id))
    assert page.status_code == 200
    assert page.context["ribbons"].before and not page.context["ribbons"].after
    assert b"?what=adapter" not in page.content


@pytest.mark.parametrize(
    ("what", "root", "holds"),
    [
        ("model", "small-kiswahili-1", "model.safetensors"),
        ("adapter", "small-kiswahili-1-adapter/adapter", "adapter_model.safetensors"),
        ("base", "small-kiswahili-1-adapter/base", "model.safetensors"),
    ],
)
def test_downloads_open_and_hold_the_files(
    world: World, model: Model, what: str, root: str, holds: str
) -> None:
    url = world.url("model-download", model.id)
    response = world.client("vera").get(url, {"what": what})
    assert response["Content-Type"] == "application/zip"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"].startswith('attachment; filename="small-')
    with unzip(response) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert all(name.startswith(f"{root}/") for name in names)
        stored = {"model": model.folder, "adapter": model.adapter}.get(what)
        if stored:
            place = files.local_path(stored)
            assert place
            assert archive.read(f"{root}/{holds}") == (place / holds).read_bytes()
        card = archive.read(f"{root}/README.md").decode()
        assert card.startswith("---\n") and model.name in card
        assert ("the folder `base/` beside this one" in card) is (what == "adapter")


@pytest.mark.parametrize("what", ["adapter", "base", "secrets", "../..", ""])
def test_what_is_not_there_cannot_be_downloaded(
    world: World, tmp_path: Path, what: str
) -> None:
    target = make_real_target(world.workspace, tmp_path / "base")
    model = make_model(target, adapter=False)
    url = world.url("model-download", model.id)
    assert world.client("vera").get(url, {"what": what}).status_code == 404
    whole = world.client("vera").get(url, {"what": "model"})
    assert whole.status_code == 200
    whole.close()


def test_withdrawing_can_be_undone(world: World, model: Model) -> None:
    client = world.client("eve")
    page = client.post(world.url("model-withdraw", model.id), follow=True)
    assert world.url("model-restore", model.id) in page.content.decode()
    assert not list(client.get(world.url("model-list")).context["page"])
    hidden = client.get(world.url("model-list"), {"show": "withdrawn"})
    assert [row.id for row in hidden.context["page"]] == [model.id]
    card = client.get(world.url("model", model.id)).content.decode()
    assert "is withdrawn" in card and f"?model={model.id}" not in card
    client.post(world.url("model-restore", model.id))
    assert list(client.get(world.url("model-list")).context["page"])


def test_a_name_may_not_be_empty(world: World, model: Model) -> None:
    url = world.url("model-rename", model.id)
    response = world.client("eve").post(url, {"name": " "})
    assert response.status_code == 422 and b"required" in response.content
    model.refresh_from_db()
    assert model.name.strip()


def test_a_model_becomes_a_base(world: World, model: Model) -> None:
    url = world.url("model-as-base", model.id)
    page = world.client("eve").post(url, follow=True)
    assert page.status_code == 200
    assert "A model made here" in page.content.decode()


def test_a_damaged_model_does_not_become_a_base(world: World, model: Model) -> None:
    folder = files.local_path(model.folder)
    assert folder
    (folder / "config.json").write_text("{")
    page = world.client("eve").post(world.url("model-as-base", model.id), follow=True)
    assert "config.json cannot be read" in page.content.decode()


def test_search_and_order(world: World, model: Model) -> None:
    other = make_model(model.target)
    other.name, other.language = "another", "ug"
    other.save()

    def names(**asked: str) -> list[str]:
        page = world.client("vera").get(world.url("model-list"), asked)
        return [row.name for row in page.context["page"]]

    assert (
        names() == names(sort="bogus") == names(sort="name") == ["another", model.name]
    )
    assert names(sort="oldest") == [model.name, "another"]
    assert names(q="uyghur") == ["another"]
    assert names(q="nothing") == []


def test_the_number_of_queries_does_not_grow(world: World, model: Model) -> None:
    client, counts = world.client("vera"), []
    client.get(world.url("model-list"))
    for _round in range(2):
        for _number in range(4):
            make_model(model.target)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(world.url("model-list")).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_part_of_an_adaptation_is_a_job_of_its_own(world: World, model: Model) -> None:
    eve = world.client("eve")
    model.job.spec = {**model.job.spec, "base": "/base"}
    model.job.save()
    page = eve.get(world.url("model", model.id)).content.decode()
    assert 'type="range"' in page
    assert (
        'type="range"'
        not in world.client("vera").get(world.url("model", model.id)).content.decode()
    )
    answer = eve.post(world.url("model-part", model.id), {"percent": "85"})
    job = Job.objects.latest("created_at")
    assert answer.url == world.url("job", job.id)
    spec = JobSpec.from_json(job.spec)
    # From the adapted model back towards what it grew from.
    assert spec.base == model.folder and spec.resources.models == ("/base",)
    (mixed,) = (s for s in spec.stages if s.stage == "merge_models")
    assert (mixed.method, mixed.weight) == ("interpolate", 0.85)
    for wrong in ("101", "-1", "x", ""):
        answer = eve.post(world.url("model-part", model.id), {"percent": wrong})
        assert answer.status_code == 422, wrong
    assert Job.objects.latest("created_at") == job


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        ("model", "model.safetensors"),
        ("model", "config.json"),
        ("adapter", "adapter_model.safetensors"),
        ("model", "model-00002-of-00002.safetensors"),
        ("model", ""),
    ],
)
def test_an_incomplete_model_is_a_sentence_and_no_broken_archive(
    world: World, model: Model, what: str, gone: str
) -> None:
    place = files.local_path({"model": model.folder, "adapter": model.adapter}[what])
    assert place
    if gone.startswith("model-"):
        index = {"weight_map": {"a": "model.safetensors", "b": gone}}
        (place / "model.safetensors.index.json").write_text(json.dumps(index))
    elif gone:
        (place / gone).unlink()
    else:
        shutil.rmtree(place)
    client = world.client("vera")
    url = world.url("model-download", model.id)
    page = client.get(url, {"what": what}, follow=True)
    said = page.content.decode()
    assert page.redirect_chain and "not complete in the storage" in said
    assert (gone.partition("_")[0] or "config.json") in said or "*.safetensors" in said
