"""Rows for new tokens: by id, old ones untouched, tied stays tied."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.training import tiny
from training import families
from training.embeddings import Request, initialise, rows
from training.errors import TokenizerMismatch
from training.vocabulary.extension import NewToken

BASE_IDS = {300: (5, 6, 7), 301: (9,), 305: (300 - 1, 5)}


def tokens(base_ids: dict[int, tuple[int, ...]]) -> list[NewToken]:
    return [NewToken(id_, "", "", 9, (), ids) for id_, ids in base_ids.items()]


def add(
    model: torch.nn.Module,
    base_ids: dict[int, tuple[int, ...]] = BASE_IDS,
    **fields: Any,
) -> None:
    initialise(model, Request(tokens(base_ids), **fields))


def made(*, tied: bool, size: int = 300, family: str = "llama") -> torch.nn.Module:
    return tiny.model(size, family=family, tied=tied)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_old_rows_keep_every_bit_and_the_tie_stays(family: str, tied: bool) -> None:
    model = made(tied=tied, family=family)
    old = model.get_input_embeddings().weight.detach().clone()
    old_head = model.get_output_embeddings().weight.detach().clone()
    ids = torch.randint(4, 300, (2, 12))
    with torch.no_grad():
        before = model(ids).logits
    add(model, method="mean_first", seed=1, multiple=64)
    matrix = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    assert torch.equal(matrix[:300], old) and torch.equal(head[:300], old_head)
    assert matrix.shape[0] == head.shape[0] == model.config.vocab_size == 320
    assert (matrix.data_ptr() == head.data_ptr()) is tied
    assert model.config.tie_word_embeddings is tied
    with torch.no_grad():
        after = model(ids).logits[..., :300]
    assert torch.allclose(after, before, atol=1e-5)


@pytest.mark.trap(11)
def test_rows_are_means_of_the_pieces_and_the_head_has_the_first() -> None:
    model = made(tied=False)
    old = model.get_input_embeddings().weight.detach().clone()
    old_head = model.get_output_embeddings().weight.detach().clone()
    add(model, method="mean_first", seed=1)
    matrix = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    for new, pieces in BASE_IDS.items():
        assert torch.allclose(matrix[new], old[list(pieces)].mean(0), atol=1e-7)
        assert torch.equal(head[new], old_head[pieces[0]])
    assert torch.equal(matrix[301], old[9])
    assert torch.allclose(matrix[310], old.mean(0), atol=1e-6)


def test_mean_for_both_and_for_tied_rows() -> None:
    for tied in (True, False):
        model = made(tied=tied)
        old_head = model.get_output_embeddings().weight.detach().clone()
        method = "mean_first" if tied else "mean"
        add(model, method=method, seed=1)
        head = model.get_output_embeddings().weight
        assert torch.allclose(head[300], old_head[[5, 6, 7]].mean(0), atol=1e-7)


@pytest.mark.trap(6)
def test_new_ids_in_padding_rows_are_overwritten_and_nothing_shrinks() -> None:
    model = made(tied=True, size=340)
    old = model.get_input_embeddings().weight.detach().clone()
    add(model, method="mean", seed=1, multiple=64)
    matrix = model.get_input_embeddings().weight
    assert matrix.shape[0] == 340
    untouched = [row for row in range(340) if row not in BASE_IDS]
    assert torch.equal(matrix[untouched], old[untouched])
    assert torch.allclose(matrix[300], old[[5, 6, 7]].mean(0), atol=1e-7)


def test_random_rows_come_from_their_own_seed() -> None:
    results = []
    for seed in (1, 1, 2):
        model = made(tied=True)
        state = torch.get_rng_state()
        add(model, method="random", seed=seed)
        results.append(model.get_input_embeddings().weight[300].detach().clone())
        torch.set_rng_state(state)
        torch.rand(3)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_configuration_that_lies_about_the_tie_is_refused() -> None:
    model = made(tied=True)
    model.config.tie_word_embeddings = False
    with pytest.raises(TokenizerMismatch, match="do not agree"):
        add(model, method="mean", seed=1)


def test_rows_that_come_apart_on_the_way_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library that grows the input matrix and leaves the head with the old one."""
    model = made(tied=True)

    def grow(size: int, **_: Any) -> None:
        head = model.get_output_embeddings()
        width = head.weight.shape[1]
        model.set_input_embeddings(torch.nn.Embedding(size, width))
        head.weight = torch.nn.Parameter(torch.zeros(size, width))

    monkeypatch.setattr(model, "resize_token_embeddings", grow)
    with pytest.raises(TokenizerMismatch, match="came apart"):
        add(model, method="mean", seed=1)


@pytest.mark.parametrize(
    ("existing", "highest", "multiple", "expected"),
    [(300, 305, 64, 320), (512, 400, 64, 512), (300, 319, 64, 320), (300, 320, 1, 321)],
)
def test_rows_needed(existing: int, highest: int, multiple: int, expected: int) -> None:
    assert rows.rows_needed(existing, highest, multiple) == expected


def test_a_piece_that_stands_for_nothing_starts_at_the_mean() -> None:
    model = made(tied=False)
    old = model.get_input_embeddings().weight.detach().clone()
    add(model, {300: ()}, method="mean_first", seed=1)
    row = model.get_input_embeddings().weight[300]
    assert torch.allclose(row, old.mean(dim=0), atol=1e-6)
    assert model.get_output_embeddings().weight.isfinite().all()


# --- replaced and pruned vocabularies: rows move with their tokens


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [64, 300, 384])
def test_carried_rows_move_with_every_bit_and_the_rest_goes(
    tied: bool, size: int
) -> None:
    """Smaller, of the same size and larger; the map reverses the order, so that rows
    written one after the other would read what was already written over."""
    model = made(tied=tied)
    old = model.get_input_embeddings().weight.detach().clone()
    old_head = model.get_output_embeddings().weight.detach().clone()
    kept = {new: 299 - new for new in range(min(size, 300) - 4)}
    new = {id_: (7, 8) for id_ in range(len(kept), size)}
    add(model, new, method="mean_first", kept=kept, multiple=1)
    matrix = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    assert matrix.shape[0] == head.shape[0] == model.config.vocab_size == size
    moved = list(kept.values())
    assert torch.equal(matrix[: len(kept)], old[moved])
    assert torch.equal(head[: len(kept)], old_head[moved])
    assert torch.allclose(matrix[len(kept) :], old[[7, 8]].mean(0), atol=1e-7)
    assert (matrix.data_ptr() == head.data_ptr()) is tied
    assert model(torch.randint(0, size, (1, 9))).logits.isfinite().all()


def test_a_pruned_vocabulary_needs_no_new_token() -> None:
    model = made(tied=True)
    old = model.get_input_embeddings().weight.detach().clone()
    add(model, {}, kept={0: 0, 1: 5, 2: 9}, multiple=8)
    matrix = model.get_input_embeddings().weight
    assert torch.equal(matrix[:3], old[[0, 5, 9]]) and matrix.shape[0] == 8
    assert torch.allclose(matrix[3:], old[[0, 5, 9]].mean(0), atol=1e-7)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({0: 0, 300: 4}, "1 have two"),
        ({0: 0, 1: 999}, "1 old rows do not exist"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(kept: dict[int, int], said: str) -> None:
    with pytest.raises(TokenizerMismatch, match=said):
        add(made(tied=True), kept=kept)


def test_an_id_without_a_row_to_come_from_is_refused() -> None:
    new = tiny.tokenizer(tiny.documents(20)).backend_tokenizer
    kept = {id_: 0 for id_ in range(10)}
    with pytest.raises(TokenizerMismatch, match="ids have no row"):
        add(made(tied=True), kept=kept, new=new)


def test_the_bias_of_the_head_goes_with_its_rows() -> None:
    model = made(tied=False)
    head = model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.randn(300))
    old = head.bias.detach().clone()
    add(model, method="mean_first")
    bias = model.get_output_embeddings().bias
    assert bias.shape == (320,) and torch.equal(bias[:300], old)
    assert bias[300] == old[5] and torch.allclose(bias[310], old.mean(), atol=1e-6)


def test_padding_rows_take_no_part_in_the_mean() -> None:
    old = tiny.tokenizer(tiny.documents(20, script="latin")).backend_tokenizer
    used = old.get_vocab_size()
    model = tiny.model(used + 30)
    with torch.no_grad():
        model.get_input_embeddings().weight[used:] = 1e6
    add(model, {used: ()}, old=old, method="mean")
    assert model.get_input_embeddings().weight[used].abs().max() < 1
