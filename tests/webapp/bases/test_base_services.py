from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from tests.webapp.bases.folders import byte_fallback, make_folder
from tests.webapp.jobs.rows import make_workspace
from tests.webapp.models.rows import make_model
from webapp.bases import services
from webapp.bases.models import BaseModel
from webapp.bases.selectors import tokenizer_folder
from webapp.bases.services import (
    MOST_TRIES,
    SILENT_SECONDS,
    bring_base,
    claim_base,
    delete_base,
    register_folder,
    register_hub,
    register_model,
    restore_base,
    retry_base,
)
from webapp.core import files
from webapp.core.errors import Refusal

pytestmark = pytest.mark.django_db


def test_a_folder_is_registered_once(tmp_path: Path) -> None:
    workspace, folder = make_workspace(), make_folder(tmp_path / "b")
    first = register_folder(workspace=workspace, path=folder)
    assert first.state == BaseModel.State.READY
    assert register_folder(workspace=workspace, path=folder) == first
    other = register_folder(workspace=make_workspace(), path=folder)
    assert other.id != first.id, "a base crossed to another workspace"
    make_folder(folder, byte_fallback())
    assert register_folder(workspace=workspace, path=folder) != first


def test_folders_outside_the_allowed_ones_are_refused(
    tmp_path: Path, settings: Any
) -> None:
    settings.BASE_FOLDERS = [str(tmp_path / "allowed")]
    inside = make_folder(tmp_path / "allowed" / "one")
    assert register_folder(workspace=make_workspace(), path=inside)
    outside = make_folder(tmp_path / "secret")
    link = tmp_path / "allowed" / "link"
    link.symlink_to(outside)
    for path in (outside, link, tmp_path / "allowed" / ".." / "secret"):
        with pytest.raises(Refusal) as refused:
            register_folder(workspace=make_workspace(), path=path)
        assert refused.value.field == "address"
        assert "secret" not in refused.value.sentence


def test_the_bundled_base_is_always_allowed(tmp_path: Path, settings: Any) -> None:
    settings.SAMPLES = tmp_path / "samples"
    bundled = make_folder(settings.SAMPLES / "base-en")
    for production, folders in ((False, ["/models"]), (True, [])):
        settings.PRODUCTION, settings.BASE_FOLDERS = production, folders
        assert register_folder(workspace=make_workspace(), path=bundled)
        with pytest.raises(Refusal):  # in production a folder must be allowed by name
            register_folder(
                workspace=make_workspace(), path=make_folder(tmp_path / "b")
            )


@pytest.mark.parametrize("place", ["files/models/1/1/model", "runs/1/x", "bases/1"])
def test_folders_of_other_workspaces_are_no_bases(
    tmp_path: Path, settings: Any, place: str
) -> None:
    folder = make_folder(settings.DATA / place)
    for allowed in ([], [str(tmp_path)]):
        settings.BASE_FOLDERS = allowed
        with pytest.raises(Refusal, match="belongs to Mothertongue"):
            register_folder(workspace=make_workspace(), path=folder)
    assert register_folder(workspace=make_workspace(), path=make_folder(tmp_path / "b"))


@pytest.mark.parametrize(
    "hub_id", ["small", "a/b/c", "/b", "a/", "a b/c", "a/../b", ""]
)
def test_what_is_no_hub_id_is_refused(hub_id: str) -> None:
    with pytest.raises(Refusal, match="organisation/model"):
        register_hub(workspace=make_workspace(), hub_id=hub_id)


def test_a_hub_id_waits_once() -> None:
    workspace = make_workspace()
    first = register_hub(workspace=workspace, hub_id="https://huggingface.co/a/b/")
    assert (first.address, first.state) == ("a/b", "waiting")
    assert register_hub(workspace=workspace, hub_id="a/b") == first
    BaseModel.objects.update(state="refused")
    assert register_hub(workspace=workspace, hub_id="a/b") != first


def test_a_finished_model_becomes_a_base_once() -> None:
    model = make_model()
    base = register_model(workspace=model.workspace, model=model)
    assert (base.origin, base.state, base.name) == ("model", "ready", model.name)
    assert base.folder == str(files.local_path(model.folder))
    assert base.languages == [model.language]
    assert register_model(workspace=model.workspace, model=model) == base


def test_a_model_made_here_knows_where_its_rate_ended() -> None:
    """That of its last reading; without any, the rate of the base it came from."""
    model = make_model()
    reading = {"stage": "continue_pretraining", "final_learning_rate_share": 0.1}
    model.job.spec["stages"] = [
        {**reading, "learning_rate": 3e-3},
        {**reading, "learning_rate": 6e-4},
        {"stage": "evaluate"},
    ]
    base = register_model(workspace=model.workspace, model=model)
    assert base.final_learning_rate == pytest.approx(6e-5)
    base.delete()
    model.job.spec["stages"] = [{"stage": "evaluate"}]
    model.target.base.final_learning_rate = 3e-5
    base = register_model(workspace=model.workspace, model=model)
    assert base.final_learning_rate == 3e-5


def test_a_model_in_an_object_store_is_brought(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    model = make_model()
    monkeypatch.setattr(files, "local_path", lambda name: None)
    base = register_model(workspace=model.workspace, model=model)
    assert base.state == BaseModel.State.WAITING
    bring_base(base_id=base.id)
    base.refresh_from_db()
    assert (base.state, base.folder) == (BaseModel.State.READY, model.folder)
    # The site, on another machine, fetches the tokenizer alone.
    shutil.rmtree(settings.DATA / "bases")
    folder = Path(tokenizer_folder(base))
    assert [path.name for path in folder.iterdir()] == ["tokenizer.json"]


def test_what_comes_from_a_hub_is_kept_where_all_machines_find_it(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    def bring(hub_id: str, place: Path, alive: Any) -> tuple[Path, str]:
        return make_folder(place), "mit"

    monkeypatch.setattr(services, "bring", bring)
    here = register_hub(workspace=make_workspace(), hub_id="a/b")
    bring_base(base_id=here.id)
    here.refresh_from_db()
    assert here.folder == str(settings.DATA / "bases" / str(here.id))
    there = register_hub(workspace=make_workspace(), hub_id="a/b")
    monkeypatch.setattr(files, "local_path", lambda name: None)
    bring_base(base_id=there.id)
    there.refresh_from_db()
    assert there.folder == f"bases/{there.id}" and there.licence == "mit"
    assert default_storage.exists(f"{there.folder}/model.safetensors")
    assert Path(tokenizer_folder(there), "tokenizer.json").is_file()


def test_a_base_whose_bringer_died_is_taken_over() -> None:
    base = register_hub(workspace=make_workspace(), hub_id="a/b")
    for _ in range(MOST_TRIES):
        assert claim_base() == base
        assert claim_base() is None  # somebody is at it
        silent = timezone.now() - timedelta(seconds=SILENT_SECONDS + 1)
        BaseModel.objects.update(seen_at=silent)
    assert claim_base() is None
    base.refresh_from_db()
    assert base.state == BaseModel.State.REFUSED and "3 times" in base.reason
    retry_base(base=base)
    assert claim_base() == base


def test_a_bringer_that_comes_back_late_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bring(hub_id: str, place: Path, alive: Any) -> tuple[Path, str]:
        BaseModel.objects.update(tries=2)  # somebody else has taken it over meanwhile
        raise Refusal("too late")

    monkeypatch.setattr(services, "bring", bring)
    base = register_hub(workspace=make_workspace(), hub_id="a/b")
    bring_base(base_id=base.id)
    base.refresh_from_db()
    assert (base.state, base.reason) == (BaseModel.State.WAITING, "")


def test_delete_and_restore(tmp_path: Path) -> None:
    base = register_folder(workspace=make_workspace(), path=make_folder(tmp_path))
    delete_base(base=base)
    base.refresh_from_db()
    assert base.deleted_at
    restore_base(base=base)
    base.refresh_from_db()
    assert base.deleted_at is None


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\n---\n# base", "apache-2.0"),
        ("---\nlicense: 'mit'\n---", "mit"),
        ("---\nlicense:\n- mit\n- apache-2.0\ntags:\n- x\n---", "mit, apache-2.0"),
        ("---\nlicense: [mit, gpl]\n---", "mit, gpl"),
        ("---\nlicense: other\nlicense_name: llama3\n---", "llama3"),
        ("---\nlanguage: en\n---\nlicense: mit", ""),
        ("license: mit", ""),
        (None, ""),
    ],
)
def test_the_licence_is_read_from_the_card(
    tmp_path: Path, card: str | None, licence: str
) -> None:
    folder = make_folder(tmp_path / "base")
    if card is not None:
        (folder / "README.md").write_text(card)
    workspace = make_workspace()
    base = register_folder(workspace=workspace, path=folder)
    assert base.licence == licence
    # A base that was registered before its card was read gets it; words of a person stay.
    for before, after in (("", licence), ("mine", "mine")):
        BaseModel.objects.update(licence=before)
        assert register_folder(workspace=workspace, path=folder).licence == after
