from __future__ import annotations

import pytest
import torch

from training.pretraining.forgetting import Forgetting

STEPS, EVERY = 10, 3


@pytest.mark.parametrize("rows", [[1, 3], None])
def test_rows_go_back_with_empty_moments_and_nothing_else_does(
    rows: list[int] | None,
) -> None:
    torch.manual_seed(1)
    matrix = torch.nn.Parameter(torch.randn(5, 2))
    first = matrix.detach().clone()
    chosen = range(5) if rows is None else rows
    others = [row for row in range(5) if row not in chosen]
    optimizer = torch.optim.AdamW([matrix], lr=0.1, weight_decay=0.0)
    # One matrix for input and output is given twice.
    made = Forgetting([matrix, matrix], rows, every=EVERY, until=0.8, total=STEPS)
    assert made.times == 2
    for step in range(1, STEPS + 1):
        matrix.grad = torch.ones_like(matrix)
        optimizer.step()
        before = matrix.detach().clone()
        moments = {n: v.clone() for n, v in optimizer.state[matrix].items()}
        made.after_step(step, optimizer)
        reset = step in (3, 6)  # at 9 there would be no time to learn
        assert torch.equal(matrix[list(chosen)], first[list(chosen)]) == reset
        assert torch.equal(matrix[others], before[others])
        for name in ("exp_avg", "exp_avg_sq"):
            now = optimizer.state[matrix][name]
            assert bool((now[list(chosen)] == 0).all()) == reset
            assert torch.equal(now[others], moments[name][others])
        assert optimizer.state[matrix]["step"] == moments["step"]


@pytest.mark.parametrize(("total", "times"), [(1, 0), (3, 0), (5, 1), (10, 2)])
def test_a_run_may_be_too_short_for_it(total: int, times: int) -> None:
    matrix = torch.nn.Parameter(torch.zeros(2, 2))
    made = Forgetting([matrix], None, every=EVERY, until=0.8, total=total)
    assert made.times == times
