"""Two workers must never have the same job, nor one a job that it cannot do, on a real
file and on a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, missing

SERVER = os.environ.get(
    "MOTHERTONGUE_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432"
)
RACE = """
import collections, threading
import django
django.setup()
from django.core.management import call_command
from django.db import connection
call_command("migrate", verbosity=0)
from tests.webapp.jobs.rows import make_host, make_job, make_target
from webapp.jobs import moves

JOBS, CLAIMERS = 12, 4
target, hosts = make_target(), [make_host("plain"), make_host("served")]
hosts[1].has_service = True
hosts[1].save()
for number in range(JOBS):
    make_job(target=target, needs_service=number % 2 == 0)
claimed = collections.Counter()
failures = []
start = threading.Barrier(CLAIMERS)

def claim_all(host):
    start.wait()
    try:
        while job := moves.claim_job(host=host, queues=["cpu"]):
            claimed[job.id, job.epoch] += 1
            if job.needs_service and not job.host.has_service:
                failures.append(f"{job.host} has no service")
    except Exception as problem:
        failures.append(repr(problem))
    finally:
        connection.close()

threads = [
    threading.Thread(target=claim_all, args=[hosts[n % 2]]) for n in range(CLAIMERS)
]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(claimed), sum(claimed.values()), failures)
"""


def race(environment: dict[str, str]) -> str:
    """Four claimers on twelve jobs, in a process of its own with a real database. Half
    of the jobs need a service, and half of the claimers have one."""
    return subprocess.run(
        [sys.executable, "-c", RACE],
        cwd=ROOT,
        env=os.environ
        | {"DJANGO_SETTINGS_MODULE": "webapp.settings", "PYTHONPATH": str(ROOT)}
        | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout.strip()


@pytest.mark.slow
def test_claimers_on_one_sqlite_file_never_share_a_job(tmp_path: Path) -> None:
    environment = {"MOTHERTONGUE_DATA": str(tmp_path), "DATABASE_URL": ""}
    assert race(environment) == "12 12 []"


@pytest.fixture
def database() -> Iterator[str]:
    """The address of an empty database of its own on a real server."""
    import psycopg

    name = "mothertongue_test_race"
    try:
        server = psycopg.connect(f"{SERVER}/postgres", connect_timeout=3)
    except psycopg.OperationalError as problem:
        missing(f"PostgreSQL is not reachable: {problem}")
    server.autocommit = True
    server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    server.execute(f"CREATE DATABASE {name}")
    yield f"{SERVER}/{name}"
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    server.close()


@pytest.mark.service
def test_claimers_on_postgresql_never_share_a_job(
    tmp_path: Path, database: str
) -> None:
    environment = {"MOTHERTONGUE_DATA": str(tmp_path), "DATABASE_URL": database}
    assert race(environment) == "12 12 []"
