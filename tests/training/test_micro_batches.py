"""Memory that is full makes passes smaller and changes nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.pretraining.test_loop import Place, loop
from training import compute, optimisation
from training.errors import OutOfMemory, Stopped
from training.events import EventWriter, read_events
from training.micro_batches import MicroBatches
from training.pretraining.loop import Pretraining

pytestmark = pytest.mark.slow  # needs torch

SETTINGS: dict[str, Any] = {"steps": 5, "batch_blocks": 8, "evaluations": 1}


class Memory:
    """A hook of the body: no room for more than `rows` rows from a step on."""

    def __init__(self, rows: int, kind: type[BaseException]) -> None:
        self.rows, self.kind = rows, kind
        self.enough = False
        self.seen: list[int] = []

    def __call__(self, module: Any, arguments: Any, values: Any) -> None:
        if not torch.is_grad_enabled() or self.enough:
            return
        count = len(values["input_ids"])
        self.seen.append(count)
        if count > self.rows:
            raise self.kind("DefaultCPUAllocator: can't allocate memory")


def small(place: Place, run: Path, **values: Any) -> Pretraining:
    """A loop over a few steps of eight rows."""
    return loop(place, run, **(SETTINGS | values))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


def limited(
    made: Pretraining, rows: int, kind: type = torch.OutOfMemoryError
) -> Memory:
    memory = Memory(rows, kind)
    made.model.base_model.register_forward_pre_hook(memory, with_kwargs=True)
    return memory


def trained(
    made: Pretraining, *, full_from: tuple[Memory, int] | None = None, stop: int = 0
) -> dict[str, torch.Tensor]:
    """Weights after training; memory is full from a step on, a stop is asked for in the
    `stop`th."""
    plan = made.make_plan({}, 0.0)
    step = made.step

    def counted(*arguments: Any) -> float:
        if full_from:
            full_from[0].enough = made.at_step < full_from[1]
        made.stop.requested = made.at_step + 1 == stop
        return step(*arguments)

    made.step = counted  # type: ignore[method-assign]
    if stop:
        with pytest.raises(Stopped):
            made.train(plan)
    else:
        made.train(plan)
    return {n: p.detach().clone() for n, p in made.model.named_parameters()}


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, MemoryError, RuntimeError])
@pytest.mark.parametrize("rows", [1, 3])
def test_the_gradients_are_those_of_the_whole_batch(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    kind: type,
) -> None:
    # Clipped they would have one length, whatever the passes were divided by.
    monkeypatch.setattr(optimisation, "CLIP", float("inf"))
    whole, parts = small(place, tmp_path / "a"), small(place, tmp_path / "b")
    memory = limited(parts, rows, kind)
    batch = next(whole.packer.batches())
    losses = []
    for made in (whole, parts):
        made.selection.clear_gradients = lambda: None  # type: ignore[method-assign]
        made.optimizer.step = made.optimizer.zero_grad = lambda **_: None  # type: ignore[method-assign,assignment]
        losses.append(made.step(batch, 1e-3, "float32"))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert memory.seen[:2] == [8, 4]
    assert memory.seen[-1] <= rows
    gradients = [
        {n: p.grad for n, p in made.model.named_parameters()} for made in (whole, parts)
    ]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=0, atol=1e-6)


def test_a_run_with_full_memory_ends_as_one_without_and_says_so(
    place: Place, tmp_path: Path
) -> None:
    plain = trained(small(place, tmp_path / "a"))
    full = small(place, tmp_path / "b")
    limited(full, 2)
    found = trained(full)
    for name, weight in plain.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-5)
    events, _ = read_events(tmp_path / "b" / "events.jsonl")
    notes = [e for e in events if e["kind"] == "note" and e["level"] == "warning"]
    assert [
        "4 rows" in notes[0]["sentence"],
        "2 rows" in notes[1]["sentence"],
        len(notes),
    ] == [True, True, 2]


def test_stopped_and_resumed_computes_the_same_bits(
    place: Place, tmp_path: Path
) -> None:
    """Memory becomes full at step 4; the checkpoint is of step 2, and steps 3 and 4 are
    computed again in the sizes they had."""
    straight = small(place, tmp_path / "a")
    expected = trained(straight, full_from=(limited(straight, 2), 3))
    assert json.loads((tmp_path / "a/work/micro_batches.json").read_text())[1:] == [
        [3, 64]
    ]
    first = small(place, tmp_path / "b")
    trained(first, full_from=(limited(first, 2), 3), stop=2)
    # Killed later than its checkpoint: the sizes are known already.
    (tmp_path / "b/work/micro_batches.json").write_bytes(
        (tmp_path / "a/work/micro_batches.json").read_bytes()
    )
    again = trained(small(place, tmp_path / "b"))
    assert all(torch.equal(again[n], w) for n, w in expected.items())


def test_without_the_steps_of_the_sizes_bits_differ(
    place: Place, tmp_path: Path
) -> None:
    """The comparison above can fail: parts are added in another order."""
    straight = small(place, tmp_path / "a")
    expected = trained(straight, full_from=(limited(straight, 2), 3))
    other = small(place, tmp_path / "b")
    other.micro_batches.sizes = [[0, 64]]
    found = trained(other)
    assert not all(torch.equal(found[n], w) for n, w in expected.items())


def test_one_row_that_does_not_fit_is_refused_with_what_to_do(
    place: Place, tmp_path: Path
) -> None:
    made = small(place, tmp_path)
    memory = limited(made, 0)
    with pytest.raises(OutOfMemory, match="one row of 32 tokens") as refusal:
        made.step(next(made.packer.batches()), 1e-3, "float32")
    assert "LoRA" in refusal.value.hint and "checkpointing" in refusal.value.hint
    assert memory.seen == [8, 4, 2, 1]
    assert all(p.grad is None for p in made.model.parameters())


def test_without_trying_again_the_run_fails(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small(place, tmp_path)
    limited(made, 2)
    monkeypatch.setattr(compute, "is_memory_error", lambda _problem: False)
    with pytest.raises(torch.OutOfMemoryError):
        trained(made)


def test_other_failures_are_not_tried_again(tmp_path: Path) -> None:
    sizes = MicroBatches(tmp_path / "m.json", 64, EventWriter(tmp_path / "e.jsonl"))

    def fails(_rows: int) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        sizes.attempt(0, (4, 16), fails, lambda: None)
    assert not (tmp_path / "m.json").exists()


def test_chance_is_put_back_before_another_attempt(tmp_path: Path) -> None:
    """A dropout that was drawn in a failed pass is drawn again."""
    sizes = MicroBatches(tmp_path / "m.json", 64, EventWriter(tmp_path / "e.jsonl"))
    drawn: list[float] = []

    def draws(rows: int) -> None:
        drawn.append(torch.rand(()).item())
        if rows > 2:
            raise MemoryError

    sizes.attempt(0, (4, 16), draws, lambda: None)
    assert len(drawn) == 2 and drawn[0] == drawn[1]
    assert sizes.rows(0, 16) == 2 and sizes.rows(0, 64) == 1


def test_layers_computed_twice_give_the_same_gradients(
    place: Place, tmp_path: Path
) -> None:
    found = []
    for setting in ("off", "on"):
        made = small(place, tmp_path / setting, gradient_checkpointing=setting)
        calls: list[int] = []
        layer = made.model.base_model.layers[0]
        layer.mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        made.model.train()
        made.add_gradients(next(made.packer.batches()), 8, "float32")
        found.append({n: p.grad for n, p in made.model.named_parameters()})
        assert len(calls) == (2 if setting == "on" else 1)
    assert all(torch.equal(found[1][n], g) for n, g in found[0].items())
