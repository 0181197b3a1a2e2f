from __future__ import annotations

import pytest

from tests.training import tiny
from training.pretraining import selection


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (0, 0, [0, 1, 2, 3, 4, 5, 6, 7]),
        (2, 2, [0, 1, 6, 7]),
        (0, 0.25, [6, 7]),
        (0.01, 0, [0]),
        (5, 5, [0, 1, 2, 3, 4, 5, 6, 7]),
        (99, 0, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_first_and_last_layers(first: float, last: float, expected: list[int]) -> None:
    assert selection.chosen_layers(8, first, last) == expected


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_layers_and_kinds_are_found_in_every_family(family: str) -> None:
    model = tiny.model(300, family=family)
    layers = selection.layer_names(model)
    assert len(layers) == 2
    inside = [n for n, _ in model.named_parameters() if n.startswith(layers[1] + ".")]
    kinds = {selection.kind(name) for name in inside}
    assert kinds == {"attention", "feed_forward", "other"}
    assert all(selection.is_chosen(name, layers, [1]) for name in inside)
    assert not any(selection.is_chosen(name, layers, [0]) for name in inside)
