"""The algebra of merging (P19), on tensors."""

from __future__ import annotations

import pytest
import torch

from training.merging import arithmetic as m

DICE = torch.Generator().manual_seed(5)
BASE, ONE, TWO = (torch.randn(24, 16, generator=DICE) for _ in range(3))


def test_the_ends_of_an_interpolation_are_the_models() -> None:
    assert torch.equal(m.interpolate(BASE, ONE, 0.0), BASE)
    assert torch.equal(m.interpolate(BASE, ONE, 1.0), ONE)
    half = m.interpolate(BASE, ONE, 0.5)
    assert torch.allclose(half, (BASE + ONE) / 2, atol=1e-6)


def test_a_chat_vector_of_nothing_changes_nothing_and_onto_the_base_gives_instruct() -> (
    None
):
    assert torch.equal(m.add_difference(ONE, BASE, TWO, 0.0), ONE)
    assert torch.allclose(m.add_difference(BASE, BASE, TWO, 1.0), TWO, atol=1e-6)


def test_a_low_rank_difference_has_that_rank_and_full_rank_is_the_whole() -> None:
    part = m.add_difference(torch.zeros(24, 16), BASE, TWO, 1.0, rank=3)
    assert torch.linalg.matrix_rank(part) == 3
    whole = m.add_difference(torch.zeros(24, 16), BASE, TWO, 1.0, rank=16)
    assert torch.allclose(whole, TWO - BASE, atol=1e-5)
    # The main directions hold more of it than any others (Eckart and Young).
    others = m.add_difference(torch.zeros(24, 16), TWO - part, TWO, 1.0, rank=3)
    assert (TWO - BASE - part).norm() < (TWO - BASE - others).norm() + 1e-3


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_a_model_merged_with_itself_is_itself(weight: float) -> None:
    for merged in (
        m.linear([ONE, ONE, ONE], weight),
        m.slerp(ONE, ONE, weight),
        m.ties(BASE, [ONE, ONE], 1.0, 1.0),
    ):
        assert torch.allclose(merged, ONE, atol=1e-6)


def test_slerp_keeps_the_length_that_a_mean_loses() -> None:
    one, two = ONE / ONE.norm(), TWO / TWO.norm()
    assert abs(m.slerp(one, two, 0.5).norm() - 1) < 1e-5
    assert m.linear([one, two], 0.5).norm() < 0.9
    assert torch.allclose(m.slerp(one, two, 0.0), one, atol=1e-6)
    assert torch.allclose(m.slerp(one, two, 1.0), two, atol=1e-6)


def test_trimming_keeps_the_largest() -> None:
    kept = m.trim(ONE, 0.25)
    assert (kept != 0).sum() == ONE.numel() // 4
    assert kept.abs()[kept != 0].min() >= ONE[kept == 0].abs().max()


def test_election_leaves_out_what_disagrees() -> None:
    found = m.elect([torch.tensor([1.0, 1.0]), torch.tensor([3.0, -3.0])])
    assert found.tolist() == [2.0, -3.0]
    # A plain mean lets them cancel: what TIES was made against.
    assert torch.stack([torch.tensor(1.0), torch.tensor(-3.0)]).mean() == -1.0


def test_dropping_keeps_the_sum_in_the_mean() -> None:
    many = torch.ones(200_000)
    thin = m.drop(many, 0.2, torch.Generator().manual_seed(1))
    assert 0.19 < (thin != 0).float().mean() < 0.21
    assert abs(thin.mean() - 1) < 0.02
    again = m.drop(many, 0.2, torch.Generator().manual_seed(1))
    assert torch.equal(thin, again)


def test_the_projection_between_equal_rows_is_the_identity() -> None:
    rows = torch.randn(200, 16, generator=torch.Generator().manual_seed(2))
    found = m.projection(rows, rows)
    assert torch.allclose(found, torch.eye(16, dtype=torch.float64), atol=1e-9)


def test_the_projection_finds_a_rotation() -> None:
    dice = torch.Generator().manual_seed(3)
    rows = torch.randn(200, 16, generator=dice)
    turn, _ = torch.linalg.qr(torch.randn(16, 16, generator=dice))
    found = m.projection(rows, rows @ turn)
    assert (found - turn.double()).abs().max() < 1e-4
    assert (found - torch.eye(16)).abs().max() > 0.1


def test_directions_that_no_row_has_stay() -> None:
    dice = torch.Generator().manual_seed(4)
    base = torch.randn(6, 16, generator=dice)
    rows = torch.randn(3, 16, generator=dice)
    unseen = rows - rows @ torch.linalg.pinv(base) @ base
    found = m.projection(base, 2 * base).float()
    assert torch.allclose(unseen @ found, unseen, atol=1e-4)
    assert torch.allclose(base @ found, 2 * base, atol=1e-4)
