"""What a process holds once it has imported a room: asked of a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LIST_WEB = """
import importlib, pathlib, sys
import django
django.setup()
for path in sorted(pathlib.Path("webapp").rglob("*.py")):
    if "migrations" in path.parts or "locale" in path.parts:
        continue
    parts = list(path.with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    importlib.import_module(".".join(parts))
heavy = {"torch", "transformers", "peft", "trl", "datasets", "workers"}
print(sorted(heavy & set(sys.modules)))
"""

LIST_CONTRACT = """
import sys
import training.spec, training.events, training.errors, training.run
print(sorted({"torch", "transformers", "django", "numpy"} & set(sys.modules)))
"""

LIST_SUPERVISOR = """
import sys
import django
django.setup()
import workers.__main__, workers.supervisor, workers.tasks
print(sorted({"torch", "transformers", "peft"} & set(sys.modules)))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", [LIST_WEB, LIST_CONTRACT, LIST_SUPERVISOR], ids=["web", "run", "worker"]
)
def test_no_ml_library_is_held(program: str, tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "webapp.settings",
            "MOTHERTONGUE_DATA": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert answer.stdout.strip().splitlines()[-1] == "[]"


def test_the_check_can_fail(tmp_path: Path) -> None:
    program = LIST_CONTRACT.replace("import sys\n", "import sys, numpy\n", 1)
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "['numpy']"
