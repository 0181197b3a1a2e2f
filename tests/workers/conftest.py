"""Installations on both backends: SQLite with polling, PostgreSQL with Celery."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests.conftest import missing
from tests.workers.installation import SHORT, Installation
from webapp import env
from webapp.jobs import queue

POSTGRESQL = os.environ.get(
    "MOTHERTONGUE_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432"
)
REDIS = os.environ.get("MOTHERTONGUE_TEST_REDIS", "redis://127.0.0.1:6379/11")
DATABASE = "mothertongue_test_workers"
POLLING = [sys.executable, "-m", "workers", "--name", "{name}"]
CELERY = [sys.executable, "-m", "celery", "-A", "workers", "worker"]
CELERY += ["-Q", "gpu", "-n", "{name}@test", "--loglevel", "INFO"]


@pytest.fixture(scope="session")
def sqlite_template(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> Path:
    """A migrated database file."""
    folder = tmp_path_factory.mktemp("template")
    with django_db_blocker.unblock(), use_database("", folder):
        call_command("migrate", verbosity=0)
        with connections["default"].cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "db.sqlite3"


@pytest.fixture(scope="session")
def postgresql_template(django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The name of a migrated database."""
    psycopg = pytest.importorskip("psycopg")
    try:
        server = psycopg.connect(f"{POSTGRESQL}/postgres", connect_timeout=3)
    except psycopg.OperationalError as problem:
        missing(f"PostgreSQL is not reachable: {problem}")
    name = f"{DATABASE}_template"
    server.autocommit = True
    server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    server.execute(f"CREATE DATABASE {name}")
    with django_db_blocker.unblock(), use_database(f"{POSTGRESQL}/{name}", Path()):
        call_command("migrate", verbosity=0)
    yield name
    for left in (DATABASE, name):
        server.execute(f"DROP DATABASE IF EXISTS {left} WITH (FORCE)")
    server.close()


class use_database:
    """This process talks to another database while the context lasts."""

    def __init__(self, url: str, data: Path) -> None:
        lease = int(SHORT["MOTHERTONGUE_LEASE_SECONDS"])
        self.settings = env.database(url, data, idle_seconds=lease)

    def __enter__(self) -> None:
        self.before = connections.settings["default"]
        connections["default"].close()
        connections.settings["default"] = {**self.before, **self.settings}
        if "OPTIONS" not in self.settings:
            connections.settings["default"]["OPTIONS"] = {}
        connections["default"] = connections.create_connection("default")

    def __exit__(self, *_: object) -> None:
        connections["default"].close()
        connections.settings["default"] = self.before
        connections["default"] = connections.create_connection("default")


def on_sqlite(data: Path, request: pytest.FixtureRequest) -> Installation:
    """One machine with nothing installed."""
    template = request.getfixturevalue("sqlite_template")
    shutil.copy(template, data / "db.sqlite3")
    return Installation(data, f"sqlite:///{data}/db.sqlite3", POLLING)


def on_postgresql(data: Path, request: pytest.FixtureRequest) -> Installation:
    """A team's installation: PostgreSQL, Celery over Redis."""
    import psycopg
    import redis

    template = request.getfixturevalue("postgresql_template")
    broker = redis.Redis.from_url(REDIS, socket_connect_timeout=3)
    try:
        broker.flushdb()
    except redis.RedisError as problem:
        missing(f"Redis is not reachable: {problem}")
    with psycopg.connect(f"{POSTGRESQL}/postgres", autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {template}")
    return Installation(data, f"{POSTGRESQL}/{DATABASE}", CELERY, broker_url=REDIS)


BACKENDS = {"sqlite": on_sqlite, "postgresql": on_postgresql}


@pytest.fixture
def unused_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.slow),
        pytest.param("postgresql", marks=pytest.mark.service),
    ]
)
def installation(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    django_db_blocker: DjangoDbBlocker,
    settings: object,
) -> Iterator[Installation]:
    """An installation of each kind. Every test ends without any process left."""
    made = BACKENDS[request.param](tmp_path, request)
    queue._broker.cache_clear()
    settings.BROKER_URL = made.broker_url
    settings.RUNS = tmp_path / "runs"
    settings.LEASE_SECONDS = int(SHORT["MOTHERTONGUE_LEASE_SECONDS"])
    with django_db_blocker.unblock(), use_database(made.database_url, tmp_path):
        try:
            yield made
        finally:
            made.close()
    left = made.engines()
    for pid in left:
        os.kill(pid, 9)
    assert not left, f"processes were left behind: {left}"
    queue._broker.cache_clear()
