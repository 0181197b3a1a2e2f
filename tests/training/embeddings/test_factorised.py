"""Low-rank rows: exact at full rank, inside the space below it."""

from __future__ import annotations

import pytest
import torch

from tests.training.embeddings import material
from training.embeddings import factorised, initialise, request


def rows_of(method: str, **fields: int) -> torch.Tensor:
    model = material.model(tied=False)
    asked = material.request(method, **fields)
    initialise(model, asked)
    return model.get_input_embeddings().weight[sorted(asked.new_ids)].detach()


def directions(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    return factorised.directions(matrix, torch.arange(len(matrix)), rank)


def test_full_rank_is_exact() -> None:
    matrix = torch.randn(300, 32, dtype=torch.float64)
    basis = directions(matrix, 32)
    assert torch.allclose((matrix @ basis) @ basis.T, matrix, atol=1e-10)
    assert torch.allclose(rows_of("factorised", rank=32), rows_of("mean"), atol=1e-6)
    assert not torch.allclose(rows_of("factorised", rank=8), rows_of("mean"), atol=1e-3)


@pytest.mark.parametrize("rank", [1, 5, 20])
def test_it_is_the_best_factorisation_of_its_rank(rank: int) -> None:
    matrix = torch.randn(200, 30, dtype=torch.float64)
    basis = directions(matrix, rank)
    assert basis.shape == (30, rank)
    assert torch.allclose(basis.T @ basis, torch.eye(rank, dtype=torch.float64))
    left = (matrix - (matrix @ basis) @ basis.T).square().sum()
    smallest = torch.linalg.svdvals(matrix)[rank:].square().sum()
    assert left == pytest.approx(smallest.item(), rel=1e-9)


def test_new_rows_lie_in_the_space() -> None:
    rows = rows_of("factorised", rank=6)
    assert torch.linalg.matrix_rank(rows.double(), rtol=1e-4) == 6
    assert torch.linalg.matrix_rank(rows_of("random").double(), rtol=1e-4) == 32


def test_the_rank_is_chosen_by_what_it_holds() -> None:
    strong = torch.zeros(100, 16)
    strong[:, :3] = torch.randn(100, 3) * 10
    matrix = strong + 0.01 * torch.randn(100, 16)
    assert directions(matrix, 0).shape[1] <= 3
    assert directions(torch.randn(4_000, 16), 0).shape[1] > 12


def test_a_token_without_pieces_gets_coordinates_too() -> None:
    from tests.training import tiny
    from training.embeddings import Request
    from training.vocabulary.extension import NewToken

    model = tiny.model(300)
    bare = [NewToken(300 + i, "", None, 1, (), ()) for i in range(4)]
    initialise(model, Request(bare, method="factorised", rank=2))
    rows = model.get_input_embeddings().weight[300:304].double()
    assert torch.linalg.matrix_rank(rows, rtol=1e-4) == 2


def test_a_large_matrix_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.randn(300, 8)
    whole = directions(matrix, 3)
    monkeypatch.setattr(request, "ROWS_AT_ONCE", 7)
    parts = directions(matrix, 3)
    assert torch.allclose((whole.T @ parts).abs(), torch.eye(3, dtype=torch.float64))
    assert torch.allclose(
        request.mean_row(matrix, torch.arange(300)), matrix.double().mean(dim=0)
    )
