"""`manage.py serve`: one terminal, no process left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from webapp.core.management.commands import serve
from webapp.core.processes import Processes, Program

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 120  # the machine may be busy


def wait_for(what: Callable[[], object], seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def those_with(mark: str) -> list[int]:
    """Processes whose environment holds a text; zombies have none."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def test_a_taken_port_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"--port {port + 1}"):
            serve.refuse_taken_port("127.0.0.1", port)
    serve.refuse_taken_port("127.0.0.1", serve.free_port())  # a free one passes


def test_an_impossible_port_is_a_sentence() -> None:
    with pytest.raises(CommandError, match="not a port"):
        serve.refuse_taken_port("127.0.0.1", 700_000)


def test_others_may_ask_by_name_only_where_it_listens_to_them() -> None:
    assert serve.names_of_this_machine("127.0.0.1") == [
        "127.0.0.1",
        "[::1]",
        "localhost",
    ]
    assert socket.gethostname().lower() in serve.names_of_this_machine("0.0.0.0")
    assert "*" not in serve.names_of_this_machine("0.0.0.0")


def test_a_chat_runtime_elsewhere_is_not_started_here(monkeypatch) -> None:
    monkeypatch.delenv("MOTHERTONGUE_CHAT_URL", raising=False)
    monkeypatch.delenv("MOTHERTONGUE_CHAT_PORT", raising=False)
    here = serve.child_environment("127.0.0.1")
    assert len(here["MOTHERTONGUE_CHAT_TOKEN"]) > 30
    names = [p.name for p in serve.programs("127.0.0.1", 8000, here)]
    assert names == ["site", "worker", "chat"]
    monkeypatch.setenv("MOTHERTONGUE_CHAT_URL", "http://gpu:8601")
    there = serve.child_environment("127.0.0.1")
    names = [p.name for p in serve.programs("127.0.0.1", 8000, there)]
    assert names == ["site", "worker"]


def python(name: str, code: str, grace: float = 5.0) -> Program:
    return Program(name, [sys.executable, "-c", code], grace)


def run_until(
    programs: list[Program], folder: Path, enough: Callable[[list[str]], object]
) -> list[str]:
    said: list[str] = []
    processes = Processes(
        programs, environment=os.environ, logs=folder, say=said.append
    )
    until = time.monotonic() + PATIENCE

    def ready() -> bool:
        if enough(said) or time.monotonic() > until:
            processes.stop()
        return False

    processes.run(ready)
    return said


@pytest.mark.slow
def test_one_that_dies_is_started_again_and_that_is_said(tmp_path: Path) -> None:
    said = run_until(
        [python("site", "print('here'); raise SystemExit(3)")],
        tmp_path,
        lambda said: said.count("  site | here") >= 2,
    )
    assert said.count("  site | here") >= 2
    assert any("exit code 3" in line and "started again" in line for line in said)
    assert (tmp_path / "site.log").read_text().count("here") >= 2


@pytest.mark.slow
def test_one_that_does_not_want_to_end_is_killed_after_its_grace(
    tmp_path: Path,
) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf'); time.sleep(999)"
    )
    obeys = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit()))\n"
        "print('obeys'); time.sleep(999)"
    )
    began = time.monotonic()
    said = run_until(
        [python("deaf", deaf, 1.0), python("worker", obeys, PATIENCE)],
        tmp_path,
        lambda said: len(said) >= 2,
    )
    assert "worker | saved" in said  # control: who obeys has the time
    assert time.monotonic() - began < PATIENCE


@pytest.mark.slow
def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    script = f"""
import os, pathlib, sys
from webapp.core.processes import Processes, Program
sleeper = [sys.executable, "-c", "print('asleep'); import time; time.sleep(999)"]
Processes(
    [Program("one", sleeper, 1), Program("two", sleeper, 1)],
    environment=os.environ, logs=pathlib.Path({str(tmp_path)!r}),
    say=lambda line: print(line, flush=True),
).run()
"""
    mark = f"MOTHERTONGUE_TEST_MARK={tmp_path}"
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "MOTHERTONGUE_TEST_MARK": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    lines = [parent.stdout.readline() for _ in range(2)]
    assert all("asleep" in line for line in lines), lines
    assert len(those_with(mark)) == 3  # control: they are seen while they live
    parent.kill()
    parent.wait()
    wait_for(lambda: not those_with(mark), 10)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    port = serve.free_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "MOTHERTONGUE_DATA": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process, port, tmp_path
    process.kill()
    process.wait()


@pytest.mark.slow
def test_ctrl_c_ends_everything(
    served: tuple[subprocess.Popen[str], int, Path],
) -> None:
    process, port, folder = served
    assert process.stdout
    link = ""
    for line in process.stdout:
        if found := re.search(r"http://\S+/link/\S+", line):
            link = found.group()
        if "Everything is kept" in line:
            break
    assert f":{port}/link/" in link
    mark = f"MOTHERTONGUE_DATA={folder}"
    assert len(those_with(mark)) >= 2  # the parent and the site
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(PATIENCE) == 0, rest
    assert "All ended." in rest
    assert not those_with(mark)
    assert (folder / "logs" / "site.log").exists()
