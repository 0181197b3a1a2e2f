from __future__ import annotations

import pytest
import torch

from training.merging.arithmetic import interpolate, slerp
from training.optimisation import learning_rate_at
from training.pretraining.branches import Branching

OPTIMIZER = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def _branching(merge: str = "linear", **values) -> Branching:
    torch.manual_seed(1)
    weights = {"a": torch.randn(3, 4), "b": torch.zeros(2)}
    values = {"branches": 2, "rounds": 2, "total": 8, **values}
    return Branching(weights, merge=merge, **values)


@pytest.mark.parametrize("merge", [interpolate, slerp])
def test_merging_a_copy_changes_nothing(merge) -> None:
    torch.manual_seed(2)
    for tensor in (torch.randn(5, 3), torch.zeros(4), torch.randn(1)):
        assert torch.equal(merge(tensor, tensor.clone(), 0.5), tensor)
        assert torch.equal(merge(tensor, tensor.clone(), 1 / 3), tensor)


def test_slerp_keeps_the_length_and_halves_the_angle() -> None:
    one, other = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    middle = slerp(one, other, 0.5)
    assert middle.norm().item() == pytest.approx(2.0)
    assert middle[0] == pytest.approx(middle[1].item())
    assert interpolate(one, other, 0.5).norm() < 1.5
    assert torch.allclose(slerp(one, other, 0.0), one)
    assert torch.allclose(slerp(one, other, 1.0), other)


def test_slerp_of_near_weights_is_near_the_mean() -> None:
    """Angles of trained copies are small; an arc cosine would be all rounding."""
    torch.manual_seed(3)
    one = torch.randn(64, 64)
    other = one + 1e-4 * torch.randn(64, 64)
    assert torch.allclose(
        slerp(one, other, 0.5), interpolate(one, other, 0.5), atol=1e-6
    )


@pytest.mark.parametrize("merge", ["linear", "slerp"])
def test_identical_branches_become_themselves(merge: str) -> None:
    made = _branching(merge)
    before = {name: w.clone() for name, w in made.weights.items()}
    for step in range(1, 9):
        made.after_step(step, OPTIMIZER)
    assert all(torch.equal(made.weights[name], before[name]) for name in before)


def test_a_round_begins_with_the_mean_of_the_last() -> None:
    made = _branching()
    start = made.weights["a"].clone()
    made.weights["a"] += 1
    made.after_step(2, OPTIMIZER)
    assert torch.equal(made.weights["a"], start)
    made.weights["a"] += 3
    made.after_step(4, OPTIMIZER)
    assert torch.allclose(made.weights["a"], start + 2)
    made.weights["a"] += 1
    made.after_step(6, OPTIMIZER)
    assert torch.allclose(made.weights["a"], start + 2)


def test_every_branch_begins_with_empty_moments() -> None:
    made = _branching()
    weight = torch.nn.Parameter(made.weights["a"])
    optimizer = torch.optim.AdamW([weight])
    for step in range(1, 9):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        made.after_step(step, optimizer)
        assert bool(optimizer.state) == (step not in made.ends)


def test_three_branches_weigh_the_same() -> None:
    made = _branching(branches=3, rounds=1, total=3)
    start = made.weights["a"].clone()
    for step, more in ((1, 3.0), (2, 6.0), (3, 0.0)):
        made.weights["a"] += more
        made.after_step(step, OPTIMIZER)
    assert torch.allclose(made.weights["a"], start + 3, atol=1e-5)


@pytest.mark.parametrize("total", [8, 11, 40])
def test_all_branches_take_the_steps_of_plain_training(total: int) -> None:
    """No step is lost where they do not divide, and the schedule reaches both ends."""
    made = _branching(total=total)
    assert made.ends[-1] == total and len(made.ends) == 4
    places = [made.schedule_step(step) for step in range(total)]
    steps = {whole for _, whole in places}
    assert len(steps) == 1 and max(place for place, _ in places) == steps.pop() - 1
    rates = [
        learning_rate_at(s, whole, peak=1.0, warmup_share=0, final_share=0.1)
        for s, whole in places
    ]
    first = made.ends[0]
    assert rates[0] == rates[first] == 1.0
    assert min(rates) == pytest.approx(0.1)


def test_what_is_measured_is_a_merged_model() -> None:
    made = _branching(total=11)
    assert [made.round_end(step) for step in (1, 5, 6, 11)] == [5, 5, 11, 11]
