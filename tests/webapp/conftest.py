"""Tests of the site: a folder of their own, a fast hash of passwords, a small world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from tests.webapp import world as worlds


@pytest.fixture(autouse=True)
def own_folder(settings: Any, tmp_path: Path) -> None:
    """Nothing is written into the checkout; passwords cost no time."""
    settings.DATA = tmp_path
    settings.FILES = settings.MEDIA_ROOT = tmp_path / "files"
    settings.RUNS = tmp_path / "runs"
    settings.STATIC_ROOT = tmp_path
    # Every client of a test has its own middleware: it must not list all static files.
    settings.WHITENOISE_AUTOREFRESH = True
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


@pytest.fixture
def world(db: None) -> worlds.World:
    """Alice owns, Eve edits, Vera looks, Charlie is a stranger (tests/webapp/world.py)."""
    return worlds.build()
