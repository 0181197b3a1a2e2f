"""Arms of a comparison: a line of a file for each that has been run, and how one is run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def read(path: Path) -> list[dict[str, Any]]:
    """The rows that are there."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def append(path: Path, row: Mapping[str, Any]) -> None:
    """One more row."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def adapt(
    options: list[str],
    settings: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The report of one `manage.py adapt` in a data folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        command = [sys.executable, "manage.py", "adapt", "--data", f"{place}/data"]
        command += [*options, "--report", str(report)]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        subprocess.run(command, cwd=ROOT, check=True, env=environment)
        return json.loads(report.read_text())
