from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from tests.webapp.bases.folders import make_folder
from tests.webapp.jobs.rows import make_job
from tests.webapp.models.rows import REPORT, make_model
from webapp.core import files
from webapp.jobs.models import State
from webapp.models.selectors import (
    INVENTED,
    adapter_base,
    invented_rows,
    lineage,
    read_report,
    tokenizer_folder,
)
from webapp.models.services import (
    publish_model,
    rename_model,
    restore_model,
    store_model,
    withdraw_model,
)

pytestmark = pytest.mark.django_db


def leave_run(folder: Path) -> tuple[Path, Path]:
    """Model, adapter and the adapter's base as the stage `merge` leaves them."""
    model = make_folder(folder / "model")
    adapter = folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    make_folder(folder / "base")
    return model, adapter


def test_a_model_is_stored_with_what_its_adapter_needs(tmp_path: Path) -> None:
    job = make_job(State.RUNNING)
    model, adapter = leave_run(tmp_path / "run")
    stored = store_model(job_id=job.id, epoch=2, folder=model, adapter=adapter)
    assert f"{job.id}/2" in stored.folder
    row = publish_model(job=job, stored=stored, report=REPORT)
    assert adapter_base(row)
    assert default_storage.exists(f"{adapter_base(row)}/model.safetensors")
    assert row.bytes == sum(p.stat().st_size for p in model.iterdir())
    assert row.report == REPORT


def test_a_model_without_an_adapter_has_no_base_of_it(tmp_path: Path) -> None:
    job = make_job(State.RUNNING)
    stored = store_model(
        job_id=job.id, epoch=1, folder=make_folder(tmp_path / "m"), adapter=None
    )
    row = publish_model(job=job, stored=stored, report={})
    assert (row.adapter, adapter_base(row)) == ("", "")


def test_invented_conversations_are_stored_with_the_model(tmp_path: Path) -> None:
    spec = {"stages": [{"stage": "tune_instructions", "invented_conversations": 3}]}
    invented = tmp_path / "invented"
    invented.mkdir()
    (invented / INVENTED).write_text('{"messages": []}\n')
    for given in (None, invented):
        job = make_job(State.RUNNING, spec=spec)
        stored = store_model(
            job_id=job.id,
            epoch=1,
            folder=make_folder(tmp_path / str(job.id)),
            adapter=None,
            invented=given,
        )
        row = publish_model(job=job, stored=stored, report={})
        name = invented_rows(row)
        assert bool(name) is bool(given)
    assert default_storage.open(name).read() == b'{"messages": []}\n'


def test_rename_withdraw_restore() -> None:
    model = make_model()
    rename_model(model=model, name="Bibi")
    withdraw_model(model=model)
    model.refresh_from_db()
    assert model.name == "Bibi" and model.withdrawn_at
    assert default_storage.exists(f"{model.folder}/config.json"), "its files stay"
    restore_model(model=model)
    model.refresh_from_db()
    assert model.withdrawn_at is None


def test_lineage_survives_a_dataset_that_is_gone() -> None:
    (corpus,) = lineage(make_model())
    assert corpus.version is None
    assert (corpus.name, corpus.languages, corpus.role) == ("hadithi", ["sw"], "target")


@pytest.mark.parametrize(
    ("stages", "figures", "named"),
    [
        (["continue_pretraining"], None, False),
        (["align_preferences"], {"skipped": "15 pairs are fewer than 1000"}, False),
        (["align_preferences"], {"pairs": 2_000}, True),
    ],
)
def test_preferences_that_nothing_learned_from_are_no_lineage(
    stages: list[str], figures: dict[str, Any] | None, named: bool
) -> None:
    model = make_model()
    row = {"path": "p.jsonl", "kind": "preferences", "languages": ["sw"]}
    model.job.spec = {
        "data": {"preferences": [row]},
        "stages": [{"stage": name} for name in stages],
    }
    if figures is not None:
        model.job.stages.create(index=0, name=stages[0], figures=figures)
    assert [corpus.role for corpus in lineage(model)] == ["preferences"] * named


def test_a_tokenizer_is_fetched_once_from_an_object_store(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    model = make_model()
    text = default_storage.open(f"{model.folder}/tokenizer.json").read()
    monkeypatch.setattr(files, "local_path", lambda name: None)
    folder = tokenizer_folder(model)
    assert folder.is_relative_to(settings.DATA / "tokenizers")
    assert (folder / "tokenizer.json").read_bytes() == text
    default_storage.delete(f"{model.folder}/tokenizer.json")
    assert tokenizer_folder(model) == folder


def test_a_report_with_nothing_in_it_still_has_every_table() -> None:
    told = read_report({})
    assert told["target"] == told["protected"] == {"before": None, "after": None}
    assert told["tokenizer"] == {"before": {}, "after": {}}
    assert told["samples"] == []
