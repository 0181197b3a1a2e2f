"""Compiled steps are the same steps; without a compiler the run goes on without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import missing
from tests.training.pretraining.test_loop import SETTINGS, Place, loop, trained
from training.errors import SpecInvalid
from training.events import read_events
from training.pretraining import compiled

STEPS = {"steps": 4, "evaluations": 2, "batch_blocks": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    """What one test has compiled would serve the next."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.slow
def test_compiled_steps_are_the_same(place: Place, tmp_path: Path) -> None:
    """To the rounding of fused sums; what is saved has the names it had."""
    eager = trained(loop(place, tmp_path / "a", **STEPS))
    made = loop(place, tmp_path / "b", compile="on", **STEPS)
    fast = trained(made)
    notes = [
        e["sentence"]
        for e in read_events(tmp_path / "b" / "events.jsonl")[0]
        if e["kind"] == "note"
    ]
    if any("not compiled" in note for note in notes):
        missing("this machine has no compiler")
    assert made.head_loss.body is not made.head_loss.causal.base_model
    assert eager.keys() == fast.keys()
    assert max((eager[n] - fast[n]).abs().max().item() for n in eager) < 2e-4
    folder = made.save(STEPS["steps"])
    names = [*made.model.state_dict(), (folder / "weights.safetensors").read_bytes()]
    assert not any("_orig_mod" in str(name) for name in names)
    other = trained(loop(place, tmp_path / "c", seed=2, **STEPS))
    assert max((eager[n] - other[n]).abs().max().item() for n in eager) > 1e-3


def test_without_a_compiler_the_run_goes_on(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note, and the same bits as a run that was not to be compiled."""
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", (str(tmp_path / "no-compiler"),))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    plain = trained(loop(place, tmp_path / "a", **STEPS))
    made = loop(place, tmp_path / "b", compile="on", **STEPS)
    found = trained(made)
    assert all(torch.equal(plain[name], found[name]) for name in plain)
    events, _ = read_events(tmp_path / "b" / "events.jsonl")
    (note,) = [e for e in events if e["kind"] == "note"]
    assert "are not compiled" in note["sentence"] and note["level"] == "warning"
    assert made.head_loss.body is made.head_loss.causal.base_model


def test_on_a_cpu_auto_is_off(place: Place, tmp_path: Path) -> None:
    made = loop(place, tmp_path, **STEPS)
    assert made.settings.compile == "auto"
    assert not compiled.choose(made, "float32", {"float32": 1.0})
    assert made.head_loss.body is made.head_loss.causal.base_model


@pytest.mark.parametrize(
    ("values", "speeds", "chosen"),
    [
        ({}, [0.5], True),
        ({}, [0.95], False),
        ({"packing": "bucketed"}, [], False),
        ({"trains": "lisa"}, [], False),
        ({"compile": "off"}, [], False),
    ],
)
def test_elsewhere_auto_keeps_what_is_faster(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    values: dict,
    speeds: list[float],
    chosen: bool,
) -> None:
    made = loop(place, tmp_path, **{**STEPS, **values})
    made.device = torch.device("meta")  # any that is no CPU
    monkeypatch.setattr(torch, "compile", lambda body, **_: lambda **i: body(**i))
    monkeypatch.setattr(compiled, "attempt", lambda *_: "")
    made.time_steps = lambda _: speeds.pop(0)
    seconds = {"float32": 1.0}
    assert compiled.choose(made, "float32", seconds) is chosen
    assert not speeds
    assert seconds["float32"] == (0.5 if chosen else 1.0)
    eager = made.head_loss.body is made.head_loss.causal.base_model
    assert eager is not chosen


@pytest.mark.parametrize("values", [{"packing": "bucketed"}, {"trains": "half"}])
def test_what_changes_shape_is_not_compiled(values: dict) -> None:
    with pytest.raises(SpecInvalid, match="compile.*by itself; choose auto or off"):
        replace(SETTINGS, compile="on", **values)
