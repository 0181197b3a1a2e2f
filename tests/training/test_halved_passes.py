"""A stage that begins again with smaller passes where memory was full."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from training import halved_passes
from training.errors import Diverged, OutOfMemory, TrainingError
from training.events import EventWriter, read_events


class Stage:
    """Takes `wanted` rows in a pass, and has room for `room`."""

    def __init__(self, folder: Path, wanted: int, room: int) -> None:
        self.context: Any = SimpleNamespace(
            work=folder, events=EventWriter(folder / "events.jsonl")
        )
        self.wanted, self.room = wanted, room
        self.taken: list[int] = []

    def learn(self) -> dict[str, Any]:
        rows = halved_passes.rows(self.context.work, self.wanted, first=True)
        self.taken.append(rows)
        if rows > self.room:
            raise OutOfMemory("full")
        return {"rows": rows}

    def run(self) -> dict[str, Any]:
        return halved_passes.until_it_fits(self.context, self.learn)

    def notes(self) -> list[str]:
        events, _ = read_events(self.context.work / "events.jsonl")
        return [event["sentence"] for event in events if event["level"] == "warning"]


@pytest.mark.parametrize(
    ("wanted", "room", "taken"),
    [(8, 8, [8]), (8, 3, [8, 4, 2]), (5, 1, [5, 2, 1]), (1, 1, [1])],
)
def test_passes_are_halved_until_they_fit_and_each_time_it_is_said(
    tmp_path: Path, wanted: int, room: int, taken: list[int]
) -> None:
    stage = Stage(tmp_path, wanted, room)
    assert stage.run() == {"rows": taken[-1]}
    assert stage.taken == taken
    said = [(int(a), int(b)) for a, b in zip(taken[1:], taken, strict=False)]
    assert len(stage.notes()) == len(said)
    for sentence, (now, before) in zip(stage.notes(), said, strict=True):
        assert f"at most {now} rows" in sentence and f"of {before};" in sentence
    # A run that was stopped goes on with what it had come to.
    again = Stage(tmp_path, wanted, room)
    again.run()
    assert again.taken == taken[-1:]


def test_where_one_row_does_not_fit_it_ends(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 4, 0)
    with pytest.raises(OutOfMemory):
        stage.run()
    assert stage.taken == [4, 2, 1]


def test_who_makes_passes_smaller_itself_is_not_begun_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 4, 0)
    calls = []

    def learn() -> dict[str, Any]:
        calls.append(1)
        raise OutOfMemory("one row does not fit")

    with pytest.raises(OutOfMemory):
        halved_passes.until_it_fits(stage.context, learn)
    assert len(calls) == 1


@pytest.mark.parametrize("problem", [Diverged("no number"), ValueError("a fault")])
def test_other_failures_pass(tmp_path: Path, problem: Exception) -> None:
    stage = Stage(tmp_path, 4, 4)

    def learn() -> dict[str, Any]:
        stage.learn()
        raise problem

    with pytest.raises(type(problem)):
        halved_passes.until_it_fits(stage.context, learn)
    assert stage.taken == [4]


def test_what_another_process_said_of_its_memory_counts(tmp_path: Path) -> None:
    """It comes as words with a code (training/ranks/start.py)."""
    stage = Stage(tmp_path, 4, 4)
    said = []

    def learn() -> dict[str, Any]:
        figures = stage.learn()
        if figures["rows"] > 2:
            problem = TrainingError("full", hint="")
            problem.code = OutOfMemory.code
            said.append(problem)
            raise problem
        return figures

    assert halved_passes.until_it_fits(stage.context, learn) == {"rows": 2}
    assert len(said) == 1


def test_only_the_first_process_keeps_the_number(tmp_path: Path) -> None:
    assert halved_passes.rows(tmp_path, 4, first=False) == 4
    assert not (tmp_path / halved_passes.FILE).exists()
