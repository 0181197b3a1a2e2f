"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Threads that spin while they wait would starve the tests beside them.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

ROOT = Path(__file__).resolve().parent.parent
# Set by .ci/run: a part that is missing fails the run instead of being skipped.
STRICT = os.environ.get("MOTHERTONGUE_TEST_STRICT") == "1"


def missing(reason: str) -> None:
    """Skip, or fail where the run must be complete."""
    if STRICT:
        pytest.fail(reason)
    pytest.skip(reason)


# Folders whose tests run models: they leave the quick loop as a whole.
RUN_MODELS = (
    "stages",
    "pretraining",
    "adapters",
    "tuning",
    "embeddings",
    "ranks",
    "recipes",
)


def runs_models(folder: Path) -> bool:
    """Whether all tests in a folder are slow."""
    return folder.parent.name == "training" and folder.name in RUN_MODELS


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The quick loop does not even read those folders, unless one of them is asked for."""
    quick = config.option.markexpr == config.getini("addopts")[-1]
    named = any("training/" in str(argument) for argument in config.args)
    return True if quick and not named and runs_models(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs models as slow."""
    for item in items:
        if runs_models(item.path.parent):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real corpora and pretrained models beside the checkout (not part of it)."""
    folder = Path(os.environ.get("MOTHERTONGUE_TEST_DATA", ROOT.parent / "shared/data"))
    if not folder.is_dir():
        missing(f"the shared corpora are not at {folder}")
    return folder
