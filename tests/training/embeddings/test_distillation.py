from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training import tiny
from training.embeddings.distillation import (
    IGNORED,
    HiddenStates,
    layers,
    layers_through,
    make_batch,
)
from training.embeddings.snippets import Snippet


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
