from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training import tiny
from training import families, merging
from training.adapters import bottleneck
from training.errors import BaseUnsuitable
from training.optimisation import make_optimizer

ROWS = 300
IDS = [[3, 5, 201, 40, 205, 7], [9, 9, 200, 12]]


def _train(model) -> None:
    model.train()
    optimizer = make_optimizer(model, learning_rate=1e-2, weight_decay=0.1)
    for step in range(4):
        ids = torch.tensor([IDS[0]])
        model(input_ids=ids, labels=(ids + step) % ROWS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(
    ("family", "numbers"),
    [
        ("llama", [0, 1]),
        *((family, [1]) for family in ("llama", "gpt2", "gpt_neox", "gemma2")),
        *(
            pytest.param(family, [0], marks=pytest.mark.slow)
            for family in ("qwen2", "qwen3", "mistral", "gemma")
        ),
    ],
)
def test_merged_saved_and_reloaded_is_the_trained_model(
    tmp_path: Path, family: str, numbers: list[int]
) -> None:
    """Also where not every layer has one."""
    model = tiny.model(ROWS, family=family)
    before = merging.measure(model, IDS)
    frozen = {name: p.detach().clone() for name, p in model.named_parameters()}
    bottleneck.attach(model, 8, numbers)
    begun = merging.measure(model, IDS)
    assert merging.largest_difference(before.logits, begun.logits) == 0
    _train(model)
    trained = merging.measure(model, IDS)
    assert merging.largest_difference(before.logits, trained.logits) > 1e-2
    bottleneck.save(model, tmp_path / "adapter")
    again = tiny.model(ROWS, family=family)
    bottleneck.load(again, tmp_path / "adapter")
    found = merging.measure(again, IDS)
    assert merging.largest_difference(trained.logits, found.logits) == 0
    merged = bottleneck.merge(model)
    embedding = merged.get_input_embeddings().weight
    assert any(torch.equal(embedding, p) for p in frozen.values())
    merged.save_pretrained(tmp_path / "model")
    plain = families.load_model(tmp_path / "model")
    found = merging.measure(plain, IDS)
    assert merging.largest_difference(trained.logits, found.logits) < 1e-5
    assert len(list(plain.parameters())) == len(frozen)


def test_forgetting_the_neurons_would_show() -> None:
    """The test above can fail: the base alone is another model."""
    model = tiny.model(ROWS)
    bottleneck.attach(model, 8, [0, 1])
    _train(model)
    trained = merging.measure(model, IDS)
    for layer in model.model.layers:
        layer.mlp = layer.mlp.base
    found = merging.measure(model, IDS)
    assert merging.largest_difference(trained.logits, found.logits) > 1e-2


def test_a_mixture_of_experts_is_refused() -> None:
    with pytest.raises(BaseUnsuitable, match="cannot be given a bottleneck"):
        bottleneck.attach(tiny.model(ROWS, family="mixtral"), 8, [0])
