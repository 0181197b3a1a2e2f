from __future__ import annotations

import pytest
import torch

from tests.training import tiny
from training.optimisation import (
    clip_gradients,
    learning_rate_at,
    make_optimizer,
    peak_learning_rate,
    set_learning_rate,
)

pytestmark = pytest.mark.slow  # needs torch


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("tied", [True, False])
def test_only_matrices_of_layers_decay(family: str, tied: bool) -> None:
    model = tiny.model(300, family=family, tied=tied)
    optimizer = make_optimizer(model, learning_rate=1.0, weight_decay=0.1)
    decayed, kept = optimizer.param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    ids = {id(parameter) for parameter in decayed["params"]}
    assert id(model.get_input_embeddings().weight) not in ids
    assert id(model.get_output_embeddings().weight) not in ids
    tables = [m for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    assert len(tables) == 1 + (family == "gpt2")  # its table of positions
    assert not ids & {id(table.weight) for table in tables}
    assert all(parameter.dim() == 2 for parameter in decayed["params"])
    together = len(decayed["params"]) + len(kept["params"])
    assert together == len(list(model.parameters()))


def test_a_rate_of_zero_changes_nothing() -> None:
    model = tiny.model(300)
    optimizer = make_optimizer(model, learning_rate=0.0, weight_decay=0.1)
    before = [parameter.clone() for parameter in model.parameters()]
    for rate, same in ((0.0, True), (1e-3, False)):
        set_learning_rate(optimizer, rate)
        model(input_ids=torch.arange(4)[None]).logits.square().mean().backward()
        optimizer.step()
        pairs = zip(before, model.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) is same


def test_warm_up_peak_and_fall() -> None:
    def rate(step: int) -> float:
        return learning_rate_at(step, 100, peak=1.0, warmup_share=0.1, final_share=0.1)

    rates = [rate(step) for step in range(100)]
    assert rates[:11] == sorted(rates[:11]) and 0 < rates[0] < 0.2
    assert rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)
    alone = learning_rate_at(0, 1, peak=1.0, warmup_share=0.03, final_share=0.1)
    assert 0 < alone <= 1


@pytest.mark.parametrize(
    ("width", "low", "high"),
    [(64, 2e-3, 4e-3), (2_048, 5e-5, 2e-4), (4_096, 3e-5, 1e-4)],
)
def test_wider_models_learn_at_lower_rates(width: int, low: float, high: float) -> None:
    assert low <= peak_learning_rate(width, "full") <= high
    assert peak_learning_rate(width, "lora") > peak_learning_rate(width, "full")


def test_gradients_are_clipped_to_one() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.full((4,), 10.0)
    assert clip_gradients([weight]) == pytest.approx(20.0)
    assert weight.grad.norm().item() == pytest.approx(1.0, abs=1e-4)


def test_embeddings_and_second_matrices_learn_at_their_own_rates() -> None:
    from training.adapters import Additions, attach

    model = attach(tiny.model(300), Additions(rows=(7,)), stage="test")
    optimizer = make_optimizer(
        model,
        learning_rate=1e-3,
        weight_decay=0.1,
        embedding_rate_share=0.5,
        lora_plus_ratio=16.0,
    )
    set_learning_rate(optimizer, 1e-2)
    rates = {
        id(parameter): group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kind = [k for k in ("lora_A", "lora_B", "trainable_tokens") if k in name]
            expected = {"lora_A": 1e-2, "lora_B": 0.16, "trainable_tokens": 5e-3}
            assert rates[id(parameter)] == pytest.approx(expected[kind[0]])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd", "constant"])
def test_schedules_climb_and_fall(schedule: str) -> None:
    rates = [
        learning_rate_at(
            step,
            100,
            peak=1.0,
            warmup_share=0.1,
            final_share=0.1,
            schedule=schedule,
            decay_share=0.2,
        )
        for step in range(100)
    ]
    assert rates[:11] == sorted(rates[:11]) and rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(1.0 if schedule == "constant" else 0.1)
    if schedule == "wsd":
        assert rates[79] == 1.0 > rates[80]
        # 1 - sqrt falls faster at first: half the height is gone after a quarter.
        assert rates[84] == pytest.approx(0.1 + 0.9 * 0.5)


def test_re_warming_climbs_from_where_the_base_ended() -> None:
    """Ibrahim et al. 2024; and without a climb where no peak is given (Parmar)."""
    known = {"warmup_share": 0.1, "final_share": 0.01, "start": 1e-5}
    climbing = [learning_rate_at(s, 100, peak=1e-4, **known) for s in range(12)]
    assert climbing[0] > 1e-5 and climbing == sorted(climbing[:11]) + climbing[11:]
    assert climbing[10] == 1e-4
    peak = peak_learning_rate(2_048, "full", base_final=1e-5)
    falling = [learning_rate_at(s, 100, peak=peak, **known) for s in range(100)]
    assert falling[0] == falling[10] == peak == 1e-5
    assert falling[-1] == pytest.approx(1e-7)
    assert peak_learning_rate(2_048, "full", given=3e-4, base_final=1e-5) == 3e-4
