from __future__ import annotations

from pathlib import Path

import pytest

from training.events import Event, EventWriter, read_events
from training.progress import WARMUP_STEPS_NOT_TIMED, Progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def run(folder: Path, seconds: list[float], **more: float) -> tuple[Progress, Clock]:
    """A loop whose steps took so long, of ten tokens and fifty bytes each."""
    clock = Clock()
    events = EventWriter(folder / "events.jsonl")
    progress = Progress(events, "read", 100, clock=clock, **more)  # type: ignore[arg-type]
    for step, took in enumerate(seconds, 1):
        clock.now += took
        progress.step(step, loss=1.5, rate=0.1, tokens=10, bytes=50)
    return progress, clock


def told(folder: Path) -> list[Event]:
    return read_events(folder / "events.jsonl")[0]


def test_the_first_steps_are_not_timed(tmp_path: Path) -> None:
    run(tmp_path, [60.0] * WARMUP_STEPS_NOT_TIMED + [2.0] * 5)
    first, *_, last = told(tmp_path)
    assert first["seconds_left"] is None
    assert first["metrics"]["tokens_per_second"] is None
    assert last["seconds_left"] == pytest.approx((100 - 8) * 2.0)
    assert last["metrics"]["tokens_per_second"] == pytest.approx(5.0)
    assert last["metrics"]["bytes_per_second"] == pytest.approx(25.0)


def test_events_are_a_second_apart_but_for_the_last(tmp_path: Path) -> None:
    progress, clock = run(tmp_path, [0.3] * 20)
    assert [event["step"] for event in told(tmp_path)] == [1, 5, 9, 13, 17]
    progress.step(100, loss=1.0, rate=0.1, tokens=10, bytes=50)
    assert told(tmp_path)[-1]["step"] == 100 and told(tmp_path)[-1]["total"] == 100


def test_pauses_count_for_nothing_and_measurements_to_come_do(tmp_path: Path) -> None:
    more = {"evaluations": 4, "seconds_per_evaluation": 30.0}
    progress, clock = run(tmp_path, [2.0] * 10, **more)
    clock.now += 500
    progress.pause()
    clock.now += 2.0
    progress.step(50, loss=1.0, rate=0.1, tokens=10, bytes=50)
    last = told(tmp_path)[-1]
    assert last["seconds_left"] == pytest.approx(50 * 2.0 + 2 * 30.0)


def test_speeds_follow_what_is_now(tmp_path: Path) -> None:
    run(tmp_path, [10.0] * 40 + [1.0] * 59)
    left = told(tmp_path)[-1]["seconds_left"]  # of the one step
    assert 1.0 < left < 4.0  # the mean of all would be 4.5
