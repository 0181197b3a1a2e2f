from __future__ import annotations

import math
import uuid
from pathlib import Path

import pytest
from django.db import DataError, OperationalError

from training.events import EventWriter
from webapp.jobs import moves
from workers.progress import Mirror, cleaned, is_well_formed, last_failure


class Database:
    """Stands where the database is: refuses what it is told to refuse."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[str] = []
        self.offset = 0
        self.problem: Exception | None = None
        self.held = True
        monkeypatch.setattr(moves, "mirror_events", self.mirror_events)

    def mirror_events(
        self, *, job_id: uuid.UUID, epoch: int, events: list[dict], offset: int
    ) -> bool:
        if self.problem and (events or isinstance(self.problem, OperationalError)):
            raise self.problem
        self.written += [event["kind"] for event in events]
        self.offset = offset
        return self.held


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    path = tmp_path / "events.jsonl"
    return Mirror(path, job_id=uuid.uuid4(), epoch=1, offset=0)


def test_each_event_is_mirrored_once(database: Database, mirror: Mirror) -> None:
    writer = EventWriter(mirror.path)
    writer.note("one")
    assert mirror.catch_up()
    assert mirror.catch_up()
    writer.write("job_started", stages=["prepare"])
    assert mirror.catch_up()
    assert database.written == ["note", "job_started"]
    assert database.offset == mirror.path.stat().st_size


def test_a_line_being_written_waits(database: Database, mirror: Mirror) -> None:
    mirror.path.write_text('{"time": 1, "kind": "note", "sentence": "ha')
    assert mirror.catch_up()
    assert database.written == []
    with mirror.path.open("a") as file:
        file.write('lf"}\n')
    mirror.catch_up()
    assert database.written == ["note"]


def test_nothing_is_skipped_while_the_database_is_away(
    database: Database, mirror: Mirror
) -> None:
    EventWriter(mirror.path).note("one")
    database.problem = OperationalError("server closed the connection")
    with pytest.raises(OperationalError):
        mirror.catch_up()
    database.problem = None
    mirror.catch_up()
    assert database.written == ["note"]


def test_what_the_database_refuses_does_not_block_what_follows(
    database: Database, mirror: Mirror
) -> None:
    writer = EventWriter(mirror.path)
    writer.note("refused")
    database.problem = DataError("out of range")
    assert mirror.catch_up()
    database.problem = None
    writer.write("job_started", stages=[])
    mirror.catch_up()
    assert database.written == ["job_started"]


def test_a_lost_lease_is_told(database: Database, mirror: Mirror) -> None:
    EventWriter(mirror.path).note("one")
    database.held = False
    assert not mirror.catch_up()


@pytest.mark.parametrize(
    ("event", "good"),
    [
        ({"kind": "note", "time": 1.5, "sentence": "x"}, True),
        ({"kind": "note", "sentence": "x"}, False),
        ({"kind": "stage_started", "time": 1, "stage": "a", "index": 0}, True),
        ({"kind": "stage_started", "time": 1, "stage": "a"}, False),
        ({"kind": "checkpoint", "time": 1, "stage": "a", "step": "3"}, False),
    ],
)
def test_well_formed(event: dict[str, object], good: bool) -> None:
    assert is_well_formed(event) is good


def test_cleaning_changes_only_what_no_database_takes() -> None:
    good = {"a": ["བོད་", 1, 1.5, None, True, {"b": "ü\n"}]}
    assert cleaned(good) == good
    assert cleaned({"a": [math.nan, -math.inf, "x\x00y", "\udc80"]}) == {
        "a": [None, None, "x\ufffdy", "?"]
    }


def test_the_failure_of_this_attempt_counts(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    writer.write("failed", code="disk_full", sentence="Old.", hint="", retryable=True)
    size = path.stat().st_size
    assert last_failure(path, size) is None
    writer.write("failed", code="diverged", sentence="New.", hint="", retryable=False)
    failure = last_failure(path, size)
    assert failure is not None
    assert failure["sentence"] == "New."
