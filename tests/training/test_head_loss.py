"""The loss in chunks is the loss, its gradients too, in every family; logits of a batch
are never held."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.training import tiny
from training import adapters, head_loss
from training.data.packing import IGNORED
from training.head_loss import HeadLoss
from training.settings import forward_pass
from training.spec import ContinuePretraining

pytestmark = pytest.mark.slow  # needs torch

ROWS = 96
FAMILIES = [
    "llama",
    "gemma2",
    *(
        pytest.param(family, marks=pytest.mark.slow)
        for family in (
            "mistral",
            "mixtral",
            "qwen2",
            "qwen3",
            "qwen3_moe",
            "gemma",
            "gemma3_text",
            "gpt2",
            "gpt_neox",
        )
    ),
]


def example() -> tuple[dict[str, Any], torch.Tensor]:
    """Inputs and labels of 3 rows of 16 tokens, some of which are not learned."""
    torch.manual_seed(3)
    ids = torch.randint(2, ROWS, (3, 16))
    labels = torch.randint(2, ROWS, (3, 16))
    labels[0, 10:] = labels[2, :3] = IGNORED
    return {"input_ids": ids, "use_cache": False}, labels


def plain(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients from the logits of the whole batch."""
    inputs, labels = example()
    logits = model(**inputs).logits.flatten(0, 1)
    loss = cross_entropy(logits, labels.flatten(), reduction="sum") / 10
    loss.backward()
    return loss.item(), gradients(model)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def made(family: str, tied: bool, method: str = "full", **more: Any) -> Any:
    model = tiny.model(ROWS, family=family, tied=tied, **more)
    if method == "full":
        return model
    settings = ContinuePretraining(method=method, lora_dropout=0.0, lora_rank=2)
    additions = adapters.Additions.of(settings, [90, 91])
    tuned = adapters.attach(model, additions, stage="continue_pretraining")
    for name, weight in tuned.named_parameters():
        if weight.requires_grad:  # as after some steps: no addition is zero
            torch.nn.init.normal_(weight, std=0.2 if "lora" in name else 0.5)
    return tuned


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_give_the_loss_and_its_gradients(
    monkeypatch: pytest.MonkeyPatch, family: str, method: str, tied: bool
) -> None:
    monkeypatch.setitem(forward_pass.LOGITS_AT_ONCE, "cpu", 7 * ROWS)
    model = made(family, tied, method).train()
    loss, expected = plain(model)
    inputs, labels = example()
    head = HeadLoss(model)
    assert head.tokens == 7 and not head.whole
    assert head.backward(inputs, labels, 10, nullcontext) == pytest.approx(loss, 1e-5)
    found = [gradients(model)]
    tensor = head.summed(inputs, labels) / 10
    tensor.backward()
    assert tensor.item() == pytest.approx(loss, 1e-5)
    found.append(gradients(model))
    for one in found:
        assert one.keys() == expected.keys()
        for name, gradient in expected.items():
            # With such additions either way is up to 0.2 % away from float64.
            near = 4e-3 * gradient.abs().max().item() if method == "lora" else 0.0
            near += 1e-5
            torch.testing.assert_close(one[name], gradient, rtol=1e-4, atol=near)


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_the_gradient_takes_the_place_of_the_logits(
    monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    """Blocks of three tokens; as near to float64 as torch's own loss."""
    monkeypatch.setattr(head_loss, "NUMBERS_OF_A_CORE", 3 * ROWS)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    torch.manual_seed(5)
    hidden = scale * torch.randn(20, ROWS)
    labels = torch.randint(ROWS, (20,))
    exact = hidden.double().requires_grad_()
    expected = cross_entropy(exact, labels, reduction="sum") / 7
    expected.backward()
    leaf = hidden.requires_grad_()
    logits = leaf * 1.0
    places: list[int] = []
    logits.register_hook(lambda gradient: places.append(gradient.data_ptr()))
    loss = head_loss._of_chunk(logits, labels) / 7
    loss.backward()
    assert places == [logits.data_ptr()]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(leaf.grad, exact.grad.float(), rtol=0.0, atol=1e-7)


def test_who_has_kept_the_logits_is_told() -> None:
    logits = torch.randn(4, ROWS).requires_grad_().tanh()  # its output is kept
    loss = head_loss._of_chunk(logits, torch.zeros(4, dtype=torch.long))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_the_family_does_to_its_logits_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gemma 2 caps its logits; the comparison above can fail without that."""
    model = made("gemma2", False, final_logit_softcapping=0.02)
    head = HeadLoss(model)
    assert head.cap == 0.02 and not head.whole
    loss, _ = plain(model)
    inputs, labels = example()
    head.cap = None
    assert head.backward(inputs, labels, 10, nullcontext) != pytest.approx(loss, 1e-4)


def test_a_model_whose_logits_are_something_else_is_computed_whole() -> None:
    class Scaled(torch.nn.Module):
        def __init__(self, head: torch.nn.Module) -> None:
            super().__init__()
            self.weight = head.weight
            self.times = 1.0

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden @ self.weight.T * self.times

    model = made("llama", False)
    model.lm_head = Scaled(model.lm_head)
    assert not HeadLoss(model).whole
    forward = model.forward

    def scaled(*arguments: Any, **values: Any) -> Any:
        found = forward(*arguments, **values)
        found.logits = found.logits * 0.5
        return found

    model.forward = scaled
    head = HeadLoss(model)
    assert head.whole
    loss, expected = plain(model)
    inputs, labels = example()
    assert head.backward(inputs, labels, 10, nullcontext) == pytest.approx(loss)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name])


def test_the_head_sees_a_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(forward_pass.LOGITS_AT_ONCE, "cpu", 7 * ROWS)
    model = made("llama", True)
    seen: list[int] = []
    model.lm_head.register_forward_hook(
        lambda _m, _i, out: seen.append(out[..., 0].numel())
    )
    inputs, labels = example()
    head = HeadLoss(model)
    seen.clear()
    head.backward(inputs, labels, 1, nullcontext)
    assert max(seen) == 7 and sum(seen) == int((labels != IGNORED).sum())
    seen.clear()
    plain(model)
    assert seen == [48]


def test_a_frozen_body_and_a_batch_without_labels() -> None:
    model = made("llama", False)
    for name, weight in model.named_parameters():
        weight.requires_grad_(name == "lm_head.weight")
    inputs, labels = example()
    HeadLoss(model).backward(inputs, labels, 1, nullcontext)
    assert set(gradients(model)) == {"lm_head.weight"}
    nothing = torch.full_like(labels, IGNORED)
    assert HeadLoss(model).backward(inputs, nothing, 0, nullcontext) == 0
