"""The methods that look at a token's pieces alone."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training import tiny
from training.embeddings import METHODS, Request, initialise
from training.vocabulary.extension import NewToken

PIECES = [
    NewToken(300, "ab", "ab", 9, (5, 6), (5, 6)),
    NewToken(301, "abc", "abc", 9, (300, 7), (5, 6, 7)),
    NewToken(302, "d", "d", 9, (), (8,)),
    NewToken(303, "abcd", "abcd", 9, (301, 302), (5, 6, 7, 8)),
]


def weights(name: str, side: str = "input") -> dict[int, dict[int, float]]:
    weigh = METHODS[name].weigh
    assert weigh is not None
    return getattr(weigh(Request(PIECES)), side)


@pytest.mark.parametrize(
    "name", ["mean", "mean_first", "last_first", "position_weighted", "merge_tree"]
)
@pytest.mark.parametrize("tied", [True, False])
def test_a_token_of_one_piece_has_that_pieces_row(name: str, tied: bool) -> None:
    model = tiny.model(300, tied=tied)
    old = model.get_input_embeddings().weight.detach().clone()
    head = model.get_output_embeddings().weight.detach().clone()
    initialise(model, Request(PIECES, method=name))
    assert torch.equal(model.get_input_embeddings().weight[302], old[8])
    assert torch.equal(model.get_output_embeddings().weight[302], head[8])


def test_the_merge_tree_halves_at_every_merge() -> None:
    assert weights("merge_tree")[301] == {5: 0.25, 6: 0.25, 7: 0.5}
    assert weights("merge_tree")[303] == {5: 0.125, 6: 0.125, 7: 0.25, 8: 0.5}
    assert weights("mean")[301] != weights("merge_tree")[301]  # the control


def test_the_merge_tree_of_a_replaced_vocabulary_ends_at_carried_rows() -> None:
    """Ids of parts are those of the new vocabulary; 4 there is the old 250."""
    token = NewToken(9, "xy", "xy", 1, (4, 5), (7, 8))
    weigh = METHODS["merge_tree"].weigh
    assert weigh is not None
    found = weigh(Request([token], kept={4: 250, 5: 3}))
    assert found.input[9] == {250: 0.5, 3: 0.5}


def test_the_end_weighs_for_the_input_and_the_start_for_the_output() -> None:
    into, out = weights("position_weighted"), weights("position_weighted", "output")
    assert max(into[301], key=into[301].get) == 7
    assert max(out[301], key=out[301].get) == 5
    assert out[301][5] / out[301][6] == pytest.approx(math.exp(2))
    assert weights("last_first")[301] == {7: 1.0}
    assert weights("last_first", "output")[301] == {5: 1.0}
    assert weights("mean_first", "output")[303] == {5: 1.0}


def test_tied_rows_are_the_inputs() -> None:
    model = tiny.model(300, tied=True)
    old = model.get_input_embeddings().weight.detach().clone()
    initialise(model, Request(PIECES, method="last_first"))
    assert torch.equal(model.get_output_embeddings().weight[301], old[7])


def test_a_piece_that_comes_twice_counts_twice() -> None:
    token = NewToken(300, "aab", "aab", 9, (), (5, 5, 6))
    weigh = METHODS["mean"].weigh
    assert weigh is not None
    mixture = weigh(Request([token])).input[300]
    assert mixture == {5: pytest.approx(2 / 3), 6: pytest.approx(1 / 3)}
