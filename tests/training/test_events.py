from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.events import EventWriter, read_events


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path, clock=lambda: 12.3456)
    writer.write("job_started", stages=["prepare"])
    writer.note("ཞེས་པ", level="warning")
    events, offset = read_events(path)
    assert events[0] == {"time": 12.346, "kind": "job_started", "stages": ["prepare"]}
    assert events[1]["sentence"] == "ཞེས་པ"
    assert offset == path.stat().st_size


def test_reading_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    assert read_events(path) == ([], 0)
    writer.note("one")
    first, offset = read_events(path)
    writer.note("two")
    second, _ = read_events(path, offset)
    assert [e["sentence"] for e in first + second] == ["one", "two"]


def test_a_line_being_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventWriter(path).note("whole")
    whole = path.stat().st_size
    line = json.dumps({"time": 1, "kind": "note", "sentence": "é"}, ensure_ascii=False)
    with path.open("ab") as file:
        file.write(line.encode()[:-4])
    events, offset = read_events(path)
    assert (len(events), offset) == (1, whole)
    with path.open("ab") as file:
        file.write(line.encode()[-4:] + b"\n")
    assert read_events(path, offset)[0][0]["sentence"] == "é"


def test_damaged_and_unknown_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind"\n\xff\xfe\n[1]\n{"kind": "dance"}\n')
    EventWriter(path).note("after")
    assert [event["sentence"] for event in read_events(path)[0]] == ["after"]


def test_an_unknown_kind_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dance"):
        EventWriter(tmp_path / "events.jsonl").write("dance")


def test_a_failed_write_is_no_failure(tmp_path: Path) -> None:
    EventWriter(tmp_path / "missing" / "events.jsonl").note("lost")
    EventWriter(tmp_path).note("a folder cannot be written")
    assert list(tmp_path.iterdir()) == []


def test_a_line_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "note", "sent')
    EventWriter(path).write("failed", code="disk_full")
    events, _ = read_events(path)
    assert [event["code"] for event in events] == ["disk_full"]
