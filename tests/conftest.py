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
RUN_MODELS = ("stages", "pretraining", "adapters", "tuning", "embeddings")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs models as slow."""
    for item in items:
        folder = item.path.parent
        if folder.parent.name == "training" and folder.name in RUN_MODELS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real corpora and pretrained models beside the checkout (not part of it)."""
    folder = Path(os.environ.get("MOTHERTONGUE_TEST_DATA", ROOT.parent / "shared/data"))
    if not folder.is_dir():
        missing(f"the shared corpora are not at {folder}")
    return folder
