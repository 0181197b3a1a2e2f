"""What a finished run leaves: a report, and a model where a stage wrote one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from webapp.jobs.models import Job
from webapp.models import services
from webapp.models.selectors import INVENTED
from workers.progress import cleaned

Publish = Callable[[Job], None]


def read_report(run_dir: Path) -> dict[str, Any]:
    """The report that the stage `evaluate` wrote; empty where there is none."""
    try:
        text = (run_dir / "report.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return cleaned(json.loads(text))


def find_outputs(run_dir: Path) -> tuple[Path | None, Path | None]:
    """The model folder and the adapter folder that the last stages left."""
    stages = sorted(
        folder
        for folder in (run_dir / "stages").glob("*")
        if folder.suffix != ".part" and folder.is_dir()
    )
    models = [folder / "model" for folder in stages if (folder / "model").is_dir()]
    adapters = [
        folder / "adapter" for folder in stages if (folder / "adapter").is_dir()
    ]
    return (models[-1] if models else None), (adapters[-1] if adapters else None)


def gather_invented(run_dir: Path) -> Path | None:
    """A folder with all conversations that the stages had invented, as one file; None
    where there are none. It is made anew each time."""
    found = sorted((run_dir / "stages").glob("*/invented.jsonl"))
    found = [path for path in found if path.parent.suffix != ".part"]
    if not any(path.stat().st_size for path in found):
        return None
    folder = run_dir / "invented"
    folder.mkdir(exist_ok=True)
    with (folder / INVENTED).open("wb") as together:
        for path in found:
            with path.open("rb") as rows:
                shutil.copyfileobj(rows, together)
    return folder


def prepare_publication(job: Job, run_dir: Path) -> tuple[dict[str, Any], Publish]:
    """Copy the model to the storage; the report, and what makes the model's row.

    The copy takes its time and happens before the transaction; a copy whose row is never
    made is found by nobody. A run without a model folder publishes nothing.
    """
    report = read_report(run_dir)
    folder, adapter = find_outputs(run_dir)
    if folder is None:
        return report, lambda job: None
    stored = services.store_model(
        job_id=job.id,
        epoch=job.epoch,
        folder=folder,
        adapter=adapter,
        invented=gather_invented(run_dir),
    )

    def publish(job: Job) -> None:
        services.publish_model(job=job, stored=stored, report=report)

    return report, publish
