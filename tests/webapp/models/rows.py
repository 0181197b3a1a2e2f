"""A finished model with real (tiny) files in the storage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.webapp.bases.folders import byte_fallback, byte_level, make_folder
from tests.webapp.jobs.rows import make_dataset, make_job
from webapp.bases.services import register_folder
from webapp.core import files
from webapp.datasets.models import DatasetVersion, Kind
from webapp.jobs.models import State
from webapp.models.models import Model
from webapp.targets.models import LanguageTarget
from webapp.workspaces.models import Workspace

REPORT: dict[str, Any] = {
    "model": "model",
    "tokenizer": {
        "before": {
            "vocabulary": 276,
            "characters_per_token": 1.25,
            "tokens_per_word": 6.5,
            "byte_fallback_share": 0.5,
        },
        "after": {
            "vocabulary": 400,
            "characters_per_token": 3.75,
            "tokens_per_word": 2.0,
            "byte_fallback_share": 0.0,
        },
    },
    "bits_per_byte": {
        "target": {"before": 4.0, "after": 1.5},
        "protected": {"before": 2.0, "after": 2.05},
    },
    "samples": [{"prompt": "Habari?", "before": "the the", "after": "Nzuri sana."}],
    "seconds": {"total": 125.0, "stages": {"prepare": 5.0, "evaluate": 120.0}},
}


def make_real_target(
    workspace: Workspace, folder: Path, language: str = "sw"
) -> LanguageTarget:
    """A target on a real folder, with text to learn, translations and text to protect."""
    base = register_folder(
        workspace=workspace, path=make_folder(folder, byte_fallback()), name="small"
    )
    target = LanguageTarget.objects.create(
        workspace=workspace, language=language, base=base
    )
    target.datasets.add(make_dataset(workspace, languages=(language,), name="text"))
    target.datasets.add(
        make_dataset(
            workspace, Kind.PARALLEL, languages=("en", language), name="translations"
        )
    )
    target.protected.add(make_dataset(workspace, languages=("en",), name="english"))
    return target


def make_model(
    target: LanguageTarget | None = None, *, report: Any = None, adapter: bool = True
) -> Model:
    """A model of a finished job; its tokenizer is another than the base's."""
    from tests.webapp.jobs.rows import make_target

    target = target or make_target()
    version = DatasetVersion.objects.filter(dataset__targets=target).first()
    corpus = {
        "path": version.rows_file if version else "gone.jsonl",
        "kind": "monolingual",
        "languages": ["sw"],
        "sha256": "a" * 64,
        "name": "hadithi",
    }
    job = make_job(
        State.SUCCEEDED,
        target=target,
        report=REPORT if report is None else report,
        spec={"data": {"target": [corpus]}},
    )
    place = f"models/{job.id}/1"
    root = files.local_path(place)
    assert root is not None
    make_folder(root / "model", byte_level())
    if adapter:
        (root / "adapter").mkdir()
        (root / "adapter" / "adapter_config.json").write_text(
            json.dumps({"base_model_name_or_path": "../base"})
        )
        (root / "adapter" / "adapter_model.safetensors").write_bytes(b"\1" * 3_000_000)
        make_folder(root / "base", byte_level())
    return Model.objects.create(
        workspace=target.workspace,
        name=f"small · Kiswahili · {job.number}",
        job=job,
        target=target,
        language=target.language,
        folder=f"{place}/model",
        adapter=f"{place}/adapter" if adapter else "",
        bytes=1234,
        report=job.report,
    )
