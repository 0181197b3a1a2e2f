from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tests.training import tiny
from training.embeddings.trainable_rows import TrainableRows

ROWS, NEW = 40, [30, 33, 31]
IDS = torch.tensor([[3, 30, 7, 31, 33, 5]])


def _steps(model: torch.nn.Module, parameters: list, decay: float, count: int) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=decay)
    for _ in range(count):
        logits = model(input_ids=IDS).logits
        functional.cross_entropy(logits[0, :-1], IDS[0, 1:]).backward()
        if decay:
            # What is usually done instead: the gradients of the old rows are zeroed.
            old = [row for row in range(ROWS) if row not in NEW]
            for parameter in parameters:
                parameter.grad[old] = 0
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.trap(14)
@pytest.mark.parametrize("family", ["llama", "gemma", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("tied", [True, False])
def test_only_the_new_rows_move(family: str, tied: bool) -> None:
    model = tiny.model(ROWS, family=family, tied=tied)
    before = {name: w.clone() for name, w in model.state_dict().items()}
    untouched = model(input_ids=IDS).logits
    rows = TrainableRows(model, NEW)
    assert sorted(rows.parameters) == (["input"] if tied else ["input", "output"])
    # In place they are what the model was.
    torch.testing.assert_close(model(input_ids=IDS).logits, untouched)
    _steps(model, list(rows.parameters.values()), 0.0, 3)
    learned = model(input_ids=IDS).logits
    rows.write()
    torch.testing.assert_close(model(input_ids=IDS).logits, learned)
    assert not torch.allclose(learned, untouched)
    matrices = {id(model.get_input_embeddings().weight)}
    matrices.add(id(model.get_output_embeddings().weight))
    old = [row for row in range(ROWS) if row not in NEW]
    after = model.state_dict(keep_vars=True)
    for name, weight in before.items():
        if id(after[name]) in matrices:
            assert torch.equal(after[name][old], weight[old])
            assert not torch.equal(after[name][NEW], weight[NEW])
        else:
            assert torch.equal(after[name], weight)


@pytest.mark.trap(14)
def test_zeroed_gradients_do_not_keep_old_rows() -> None:
    """The negative control: AdamW with weight decay moves rows without a gradient."""
    model = tiny.model(ROWS, tied=False)
    weight = model.get_input_embeddings().weight
    before = weight.detach().clone()
    head = model.get_output_embeddings().weight
    _steps(model, [weight, head], 0.1, 2)
    assert not torch.equal(weight[:30], before[:30])


def test_a_head_alone_teaches_only_itself() -> None:
    model = tiny.model(ROWS, tied=False)
    rows = TrainableRows(model, NEW, head_alone=True)
    loss = functional.cross_entropy(model(input_ids=IDS).logits[0, :-1], IDS[0, 1:])
    loss.backward()
    assert rows.parameters["input"].grad is None
    assert rows.parameters["output"].grad.abs().sum() > 0
