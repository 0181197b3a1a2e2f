"""What every test may use."""

from __future__ import annotations

import gc
import os
import re
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


# Folders of tests/training whose tests import torch (5 s in every process), most to run
# a model: they leave the quick loop as a whole.
WITH_TORCH = (
    "adapters",
    "data",
    "embeddings",
    "evaluation",
    "merging",
    "pretraining",
    "ranks",
    "recipes",
    "stages",
    "tuning",
    "vocabulary",
)
# What a file says of all its tests (its `pytestmark`).
LEAVES_THE_QUICK_LOOP = re.compile(
    r"^pytestmark = .*pytest\.mark\.(slow|service|browser)\b", re.MULTILINE
)


def with_torch(folder: Path) -> bool:
    """Whether all tests in a folder of tests/training are slow."""
    return folder.parent.name == "training" and folder.name in WITH_TORCH


def asked_for(config: pytest.Config) -> bool:
    """Whether the command line names tests of training: then they are not slow."""
    return any("training/" in str(argument) for argument in config.args)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The quick loop does not even import what it would leave out as a whole."""
    if config.option.markexpr != config.getini("addopts")[-1]:
        return None
    if collection_path.is_dir():
        return True if with_torch(collection_path) and not asked_for(config) else None
    if collection_path.suffix != ".py":
        return None
    return bool(LEAVES_THE_QUICK_LOOP.search(collection_path.read_text())) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Mark as slow what needs torch."""
    if not asked_for(config):
        for item in items:
            if with_torch(item.path.parent):
                item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What was imported stays until the end: the garbage collector need not walk it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real corpora and pretrained models beside the checkout (not part of it)."""
    folder = Path(os.environ.get("MOTHERTONGUE_TEST_DATA", ROOT.parent / "shared/data"))
    if not folder.is_dir():
        missing(f"the shared corpora are not at {folder}")
    return folder
