"""Two processes take the steps of one: gloo on the CPU, models of two layers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.pretraining.test_loop import Place, loop, trained
from tests.training.ranks.together import (
    COMMON,
    REPLICATED,
    SHARDED,
    STOP_AFTER,
    WRONG,
)
from tests.training.ranks.two import run_both
from training.data.packing import IGNORED, Batch
from training.events import read_events
from training.ranks import ALONE, messages

# Sums of float32 in another order, through six steps of AdamW at a rate of 5e-3: the
# first steps divide a gradient by its own size, and of a tiny one that enlarges rounding.
SAME = 2e-4
VARIANTS = [f"replicated {name}" for name in REPLICATED]
VARIANTS += [f"sharded {name}" for name in SHARDED]


def values_of(name: str) -> dict[str, Any]:
    way, _, variant = name.partition(" ")
    return {**COMMON, **(REPLICATED if way == "replicated" else SHARDED)[variant]}


def difference(one: dict, other: dict) -> float:
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


class Together:
    """What two processes left behind, and runs of one process to compare."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.folder, self.place = folder, place

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"{name}.safetensors")

    def alone(self, run: Path, **values: Any) -> dict[str, torch.Tensor]:
        return trained(loop(self.place, run, **{**COMMON, **values}))


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Together]:
    folder = tmp_path_factory.mktemp("together")
    place = Place(folder / "place")
    for way in ("replicated", "sharded"):  # begun by one, ended by two
        trained(loop(place, folder / f"{way} to end", **COMMON), stop=STOP_AFTER)
    run_both("tests.training.ranks.together", folder)
    return Together(folder, place)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_take_the_steps_of_one(
    together: Together, tmp_path: Path, name: str
) -> None:
    alone = together.alone(tmp_path, **values_of(name))
    assert difference(alone, together.weights(name)) < SAME


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_share_shows(together: Together, tmp_path: Path, name: str) -> None:
    """The comparison above can fail: each by its own tokens, or the same rows twice."""
    alone = together.alone(tmp_path)
    assert difference(alone, together.weights(f"replicated {name}")) > 10 * SAME


@pytest.mark.slow
@pytest.mark.parametrize("way", ["replicated", "sharded"])
def test_begun_by_one_and_ended_by_two(
    together: Together, tmp_path: Path, way: str
) -> None:
    alone = together.alone(tmp_path)
    assert difference(alone, together.weights(f"{way} ended")) < SAME
    events, _ = read_events(together.folder / f"{way} to end" / "events.jsonl")
    went_on = [e for e in events if "Going on from" in e.get("sentence", "")]
    assert len(went_on) == 1 and f"step {STOP_AFTER}." in went_on[0]["sentence"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["replicated", "sharded"])
def test_begun_by_two_and_ended_by_one(
    together: Together, tmp_path: Path, way: str
) -> None:
    """Both stopped after the same step, though one alone was asked to."""
    alone = together.alone(tmp_path)
    steps = [(together.folder / f"{way} begun {n}.txt").read_text() for n in range(2)]
    assert steps == [str(STOP_AFTER)] * 2
    ended = trained(loop(together.place, together.folder / f"{way} begun", **COMMON))
    assert difference(alone, ended) < SAME
    events, _ = read_events(together.folder / f"{way} begun" / "events.jsonl")
    assert [e["step"] for e in events if e["kind"] == "checkpoint"] == [STOP_AFTER]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["replicated", "sharded"])
def test_stopped_and_resumed_is_uninterrupted(
    together: Together, tmp_path: Path, way: str
) -> None:
    """Bit for bit, what dropout draws in each process too; and it does draw."""
    straight, again = (together.weights(f"{way} {n}") for n in ("straight", "again"))
    assert difference(straight, again) == 0
    without = together.alone(tmp_path, method="lora")
    assert difference(straight, without) > 10 * SAME


@pytest.mark.slow
def test_a_full_memory_makes_the_passes_of_all_smaller(
    together: Together, tmp_path: Path
) -> None:
    name = "replicated full memory"
    alone = together.alone(tmp_path)
    assert difference(alone, together.weights(name)) < SAME
    events, _ = read_events(together.folder / f"{name} 0" / "events.jsonl")
    notes = [e for e in events if "memory was full" in e.get("sentence", "")]
    assert len(notes) == 1


@pytest.mark.slow
def test_in_parts_a_full_memory_ends_the_attempt_and_the_next_has_smaller_passes(
    together: Together, tmp_path: Path
) -> None:
    said = (together.folder / "sharded full memory 1.txt").read_text()
    assert "cannot be made smaller" in said
    halved = together.weights("sharded halved")
    assert difference(together.alone(tmp_path), halved) < SAME


@pytest.mark.parametrize("rows", [1, 4, 5])
def test_shares_of_a_batch_are_the_batch(rows: int) -> None:
    """Each row belongs to one process; what fills up teaches nothing."""
    ids = torch.arange(rows * 3).view(rows, 3)
    batch = Batch(ids, ids.clone(), ids * 0, ids * 0, rows * 3, 9.0)
    parts = [batch.share(rank, 3) for rank in range(3)]
    assert len({len(part.ids) for part in parts}) == 1
    learned = torch.cat([part.labels[part.labels != IGNORED] for part in parts])
    assert learned.sort().values.tolist() == list(range(rows * 3))
    assert all(part.tokens == batch.tokens for part in parts)


def test_gradients_travel_in_messages_of_one_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.ranks.BYTES_OF_A_MESSAGE", 20)
    tensors = [torch.zeros(4), torch.zeros(4), torch.zeros(1), torch.zeros(1).half()]
    groups = list(messages(tensors))
    assert [tensor for group in groups for tensor in group] == tensors
    assert [len(group) for group in groups] == [2, 1, 1]


def test_one_process_asks_nobody() -> None:
    assert ALONE.first and not ALONE.any(False) and ALONE.any(True)
    assert ALONE.total(2.5) == ALONE.largest(2.5) == 2.5
    values = {"a": torch.ones(2)}
    assert ALONE.whole(values) is values
