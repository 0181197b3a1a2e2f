from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.pretraining import lottery


def test_the_statistic_is_the_largest_gap_of_the_distributions() -> None:
    one = torch.tensor(
        [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 5.0, 5.0]]
    )
    other = torch.tensor(
        [[4.0, 3.0, 2.0, 1.0], [5.0, 6.0, 7.0, 8.0], [5.0, 5.0, 5.0, 5.0]]
    )
    found = lottery.kolmogorov_smirnov(one, other)
    assert found.tolist() == pytest.approx([0.0, 1.0, 0.5])
    many = torch.randn(lottery.ROWS_AT_ONCE + 3, 4)
    assert not lottery.kolmogorov_smirnov(many, many.flip(1)).any()


def test_rows_that_change_win_and_are_put_back(tmp_path: Path) -> None:
    torch.manual_seed(1)
    matrix = torch.nn.Parameter(torch.randn(20, 64))
    before = matrix.detach().clone()
    numbers = torch.randn(3)
    torch.manual_seed(2)

    def trial() -> None:
        torch.randn(9)
        with torch.no_grad():
            matrix.add_(0.001)
            matrix[[4, 17]] += 2

    path = tmp_path / "ids.json"
    assert lottery.winning_rows(matrix, 2, trial, path, range(20)) == [4, 17]
    assert torch.equal(matrix, before)
    after = torch.randn(3)
    torch.manual_seed(2)
    assert torch.equal(torch.randn(3), after) and not torch.equal(after, numbers)
    assert lottery.winning_rows(matrix, 2, lambda: 1 / 0, path, []) == [4, 17]


def test_rows_of_no_token_cannot_win(tmp_path: Path) -> None:
    """Padding rows of a tied matrix move most: from zero, with every step."""
    torch.manual_seed(1)
    matrix = torch.nn.Parameter(torch.randn(20, 64))
    with torch.no_grad():
        matrix[16:] = 0

    def trial() -> None:
        with torch.no_grad():
            matrix[16:] -= 0.5
            matrix[[4, 11]] += 1

    won = {
        most: lottery.winning_rows(
            matrix, 3, trial, tmp_path / f"{most}.json", range(most)
        )
        for most in (16, 20)
    }
    assert set(won[16]) > {4, 11} and max(won[16]) < 16
    assert min(won[20]) >= 16
