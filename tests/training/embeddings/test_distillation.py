from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training import tiny
from training.data.packing import IGNORED
from training.embeddings.distillation import (
    Distillation,
    HiddenStates,
    layers,
    layers_through,
    make_batch,
)
from training.embeddings.snippets import Snippet
from training.settings.distil_embeddings import DistilEmbeddings


def _snippet(student: list[int], teacher: list[int], places: list) -> Snippet:
    arrays = (np.asarray(a, np.int32) for a in (student, teacher, places))
    return Snippet(*arrays, bytes=1)


def test_batch_pairs_the_same_places() -> None:
    snippets = [
        _snippet([20, 5], [6, 7, 5], [(0, 1), (1, 2)]),
        _snippet([21], [8, 9], [(0, 1)]),
    ]
    batch = make_batch(snippets, (0, 1))
    assert batch.student.tolist() == [[0, 20, 5], [0, 21, 0]]
    assert batch.teacher.tolist() == [[1, 6, 7, 5], [1, 8, 9, 1]]
    assert batch.labels.tolist() == [[20, 5, IGNORED], [21, IGNORED, IGNORED]]
    read = batch.student[batch.rows, batch.students].tolist()
    assert read == [20, 5, 21]
    assert batch.teacher[batch.rows, batch.teachers].tolist() == [7, 5, 9]


@pytest.mark.parametrize("family", ["llama", "gemma", "gpt2", "gpt_neox", "qwen3"])
def test_a_shortened_teacher_gives_the_same_states(family: str) -> None:
    model, whole = (tiny.model(30, family=family) for _ in range(2))
    ids = torch.tensor([[3, 4, 5]])
    expected = HiddenStates(layers(whole)[0])
    whole(input_ids=ids)
    kept = layers(model)
    seen = HiddenStates(kept[0])
    del kept[1:]
    model.config.num_hidden_layers = 1
    model.base_model(input_ids=ids, use_cache=False)
    assert torch.equal(seen.take(), expected.take())


@pytest.mark.parametrize(("share", "through"), [(0.01, 1), (0.5, 1), (1.0, 2)])
def test_a_share_of_the_depth_is_a_layer(share: float, through: int) -> None:
    assert layers_through(tiny.model(30), share) == through


@pytest.mark.parametrize("tied", [True, False])
def test_tied_rows_learn_as_much_from_the_text_as_from_the_teacher(tied: bool) -> None:
    """Their second loss has the size of the first and still its own direction."""
    made = Distillation(
        model=tiny.model(30, tied=tied),
        teacher=tiny.model(28, tied=tied),
        ids=[28, 29],
        snippets=[],
        starts=(0, 1),
        settings=DistilEmbeddings(),
        seed=1,
        **dict.fromkeys(("evaluator", "work", "run_dir", "events", "stop")),
    )
    snippets = [_snippet([28, 5, 29], [6, 7, 5, 8, 9], [(0, 1), (1, 2), (2, 4)])]
    batch = make_batch(snippets, made.starts)
    total = made.loss(batch, snippets)
    with torch.no_grad():
        logits = made.model(input_ids=batch.student).logits.flatten(0, 1)
        made.teacher.base_model(input_ids=batch.teacher)
        seen = made.seen.take()[batch.rows, batch.students]
        wanted = made.wanted.take()[batch.rows, batch.teachers]
    difference = torch.nn.functional.mse_loss(seen, wanted).item()
    prediction = torch.nn.functional.cross_entropy(
        logits, batch.labels.flatten(), ignore_index=IGNORED
    ).item()
    assert prediction > 10 * difference  # unscaled it would drown the other
    second = difference if tied else prediction
    assert total.item() == pytest.approx(difference + second, rel=1e-4)
    total.backward()
    for rows in made.rows.parameters.values():
        assert rows.grad is not None and rows.grad.abs().sum() > 0
