from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from workers.processes import Child, child_environment, look_up, session_members
from workers.run_folder import RunFolder

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
PARENT = "import subprocess, sys; subprocess.Popen(['sleep', '60'], close_fds=False)"


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> RunFolder:
    settings.RUNS = tmp_path
    return RunFolder(uuid.uuid4())


def start(folder: RunFolder, epoch: int, command: list[str] = SLEEP) -> Child:
    with folder.locked(epoch, lambda: False) as lock:
        assert lock is not None
        folder.begin(epoch, {})
        child = Child(command, environment=child_environment(), keep_open=(lock,))
    folder.record(epoch, child)
    return child


def test_a_second_engine_waits_for_the_first(folder: RunFolder) -> None:
    child = start(folder, 1)
    with folder.locked(1, lambda: False) as lock:  # not newer: it may end nobody
        assert lock is None
    assert not child.has_ended()
    child.close()
    with folder.locked(1, lambda: False) as lock:
        assert lock is not None


def test_a_newer_epoch_ends_the_older_engine(folder: RunFolder) -> None:
    child = start(folder, 1)
    until = time.monotonic() + 10
    with folder.locked(2, lambda: time.monotonic() < until) as lock:
        assert lock is not None
        assert child.has_ended()
    child.close()


def test_a_zombie_cannot_end_the_newer_engine(folder: RunFolder) -> None:
    child = start(folder, 3)
    with folder.locked(2, lambda: False) as lock:
        assert lock is None
    assert not child.has_ended()
    child.close()


def test_another_process_with_the_same_pid_is_left_alone(folder: RunFolder) -> None:
    child = start(folder, 1)
    child.started -= 1  # what stood there before had another start time
    folder.record(1, child)
    with folder.locked(2, lambda: False) as lock:
        assert lock is None
    assert not child.has_ended()
    child.close()


def test_the_lock_is_held_by_what_the_engine_left_behind(folder: RunFolder) -> None:
    child = start(folder, 1, [sys.executable, "-c", PARENT])
    while not child.has_ended():
        time.sleep(0.02)
    assert list(session_members(child.pid))
    with folder.locked(1, lambda: False) as lock:
        assert lock is None
    assert child.close() == 0  # ends the whole session
    assert not list(session_members(child.pid))
    with folder.locked(1, lambda: False) as lock:
        assert lock is not None


def test_events_go_on_only_after_the_epoch_before(folder: RunFolder) -> None:
    assert not folder.begin(1, {})  # nothing there yet
    folder.events.write_text("one\n")
    assert folder.begin(2, {})
    assert folder.events.read_text() == "one\n"
    assert not folder.begin(4, {})  # epoch 3 ran on another machine
    assert not folder.events.exists()


def test_half_a_line_does_not_spoil_the_next(folder: RunFolder) -> None:
    folder.begin(1, {})
    folder.events.write_text('{"a": 1}\n{"kin')
    folder.begin(2, {})
    assert folder.events.read_text() == '{"a": 1}\n{"kin\n'
    folder.begin(3, {})
    assert folder.events.read_text() == '{"a": 1}\n{"kin\n'


def test_the_child_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "MOTHERTONGUE_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environment = child_environment(HF_HUB_OFFLINE="1")
    assert "secret" not in environment.values()
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["PATH"]


def test_a_child_is_told_from_its_pid_and_start(folder: RunFolder) -> None:
    child = Child(SLEEP, environment=child_environment())
    found = look_up(child.pid)
    assert found is not None
    assert (found.session, found.started) == (child.pid, child.started)
    assert child.close() == -9
    assert look_up(child.pid) is None
