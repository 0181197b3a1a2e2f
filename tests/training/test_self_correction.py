"""Targets that the model revises: their definition, their gradient, in chunks, over a run,
and what they do to a model that learns from misaligned pairs."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy, log_softmax, one_hot

from tests.training import tiny
from tests.training.stages.test_tune_instructions import SETTINGS, job
from tests.training.test_head_loss import ROWS, example, gradients, made, plain
from training import self_correction
from training.data.packing import IGNORED
from training.errors import Stopped
from training.head_loss import HeadLoss
from training.self_correction import Revision, SelfCorrection, change
from training.settings import forward_pass
from training.stages import tune_instructions
from training.tuning import sft

pytestmark = pytest.mark.slow  # needs torch

LABELS = torch.tensor([2, 0, 5, 5])


def logits() -> torch.Tensor:
    torch.manual_seed(1)
    return (2 * torch.randn(4, 7, dtype=torch.double)).requires_grad_()


def target(at: torch.Tensor, weight: float, temperature: float) -> torch.Tensor:
    own = torch.softmax(at.detach() / temperature, -1)
    return (1 - weight) * one_hot(LABELS, 7) + weight * own


def loss(at: torch.Tensor, weight: float, temperature: float) -> torch.Tensor:
    plain = cross_entropy(at, LABELS, reduction="sum")
    return plain + change(at, LABELS, weight, temperature)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_cross_entropy_with_the_revised_target(weight: float) -> None:
    at = logits()
    expected = -(target(at, weight, 0.5) * log_softmax(at, -1)).sum()
    assert loss(at, weight, 0.5).item() == pytest.approx(expected.item())


def test_the_gradient_against_finite_differences_with_the_target_held() -> None:
    at = logits()
    loss(at, 0.4, 0.5).backward()
    held = target(at, 0.4, 0.5)
    step = 1e-5
    for place in range(at.numel()):
        moved = torch.zeros(at.numel(), dtype=torch.double)
        moved[place] = step
        up, down = (
            -(held * log_softmax(at.detach() + sign * moved.view(4, 7), -1)).sum()
            for sign in (1, -1)
        )
        found = at.grad.flatten()[place].item()
        assert found == pytest.approx((up - down).item() / (2 * step), abs=1e-7)


def test_only_sharpening_turns_the_gradient() -> None:
    def gradient(weight: float, temperature: float) -> torch.Tensor:
        at = logits()
        loss(at, weight, temperature).backward()
        return at.grad

    plain = gradient(0.0, 0.5)
    torch.testing.assert_close(gradient(0.4, 1.0), 0.6 * plain)
    turned = cosine_similarity(gradient(0.4, 0.5).flatten(), plain.flatten(), dim=0)
    assert turned < 0.99


def test_without_weight_it_is_cross_entropy_to_the_last_bit() -> None:
    model = made("llama", True)
    inputs, labels = example()
    head = HeadLoss(model)
    marked = labels != IGNORED
    head.summed(inputs, labels).backward()
    expected = gradients(model)
    found = head.summed(inputs, labels, Revision(0.0, 0.5, marked))
    assert torch.equal(found, head.summed(inputs, labels))
    found.backward()
    for name, gradient in gradients(model).items():
        assert torch.equal(gradient, expected[name])


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_chunks_agree_with_the_whole(
    monkeypatch: pytest.MonkeyPatch, family: str, method: str
) -> None:
    """Some rows revised and some not; also where the model is computed whole."""
    model = made(family, False, method).train()
    inputs, labels = example()
    marked = torch.zeros_like(labels, dtype=torch.bool)
    marked[0], marked[1, ::2] = True, True
    revision = Revision(0.6, 0.5, marked)
    at = model(**inputs).logits.flatten(0, 1).float()
    learned = (labels != IGNORED).flatten()
    kept = (marked.flatten() & learned).nonzero().flatten()
    expected = cross_entropy(at[learned], labels.flatten()[learned], reduction="sum")
    expected = expected + change(at[kept], labels.flatten()[kept], 0.6, 0.5)
    expected.backward()
    known = gradients(model)
    monkeypatch.setitem(forward_pass.LOGITS_AT_ONCE, "cpu", 7 * ROWS)
    for whole in (False, True):
        head = HeadLoss(model)
        assert head.tokens == 7 and not head.whole
        head.whole = whole
        found = head.summed(inputs, labels, revision)
        assert found.item() == pytest.approx(expected.item(), 1e-5)
        found.backward()
        both = [gradients(model)]
        value = head.backward(inputs, labels, 1, torch.enable_grad, revision)
        assert value == pytest.approx(expected.item(), 1e-5)
        for one in (*both, gradients(model)):
            for name, gradient in known.items():
                apart = (one[name] - gradient).abs().max()
                assert apart <= 1e-4 + 1e-3 * gradient.abs().max(), name
    _, without = plain(model)  # a tenth of its sum
    apart = [(known[name] - 10 * one).abs().max() for name, one in without.items()]
    assert max(apart) > 0.1


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """(weight, marked labels) of every forward pass of a training from now on."""
    seen: list[tuple[float, int]] = []
    at = SelfCorrection.at

    def record(self: SelfCorrection, step: int, marked: torch.Tensor) -> Revision:
        revision = at(self, step, marked)
        seen.append((revision.weight, int(marked.sum())))
        return revision

    monkeypatch.setattr(self_correction.SelfCorrection, "at", record)
    return seen


CORRECTING = dataclasses.replace(
    SETTINGS, steps=5, self_correction=0.8, maximum_tokens=256
)


@pytest.mark.parametrize("packing", ["off", "on"])
def test_trust_grows_over_the_run_on_the_answers_of_translations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    seen = recorded(monkeypatch)
    kept: list[sft.Example] = []
    train = sft.train

    def spy(model: Any, words: Any, examples: list[sft.Example], *rest: Any) -> float:
        kept.extend(examples)
        return train(model, words, examples, *rest)

    monkeypatch.setattr(sft, "train", spy)
    settings = dataclasses.replace(CORRECTING, packing=packing, loss="everything")
    context = job(tmp_path, settings)
    figures = tune_instructions.run(context)
    weights = list(dict.fromkeys(weight for weight, _ in seen))
    assert weights == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert any(count for _, count in seen)
    assert 0 < figures["translations"] < figures["examples"]
    for one in kept:
        assert len(one.revised) in (0, len(one.input_ids))
        revised = sum(one.revised)
        assert revised < sum(label != IGNORED for label in one.labels)
    if packing == "off":
        assert sum(any(e.revised) for e in kept) == figures["translations"]


def test_a_resumed_run_goes_on_with_the_trust_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = job(tmp_path, CORRECTING)
    seen = recorded(monkeypatch)
    step = sft.AnswerTrainer.training_step

    def stopping(self: Any, *given: Any, **named: Any) -> torch.Tensor:
        context.stop.requested = self.state.global_step == 2
        return step(self, *given, **named)

    monkeypatch.setattr(sft.AnswerTrainer, "training_step", stopping)
    with pytest.raises(Stopped):
        tune_instructions.run(context)
    monkeypatch.setattr(sft.AnswerTrainer, "training_step", step)
    context.stop.requested = False
    seen.clear()
    tune_instructions.run(context)
    weights = dict.fromkeys(weight for weight, _ in seen)
    assert list(weights) == pytest.approx([0.6, 0.8])


def test_nothing_is_marked_where_it_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = recorded(monkeypatch)
    tune_instructions.run(job(tmp_path, dataclasses.replace(SETTINGS, steps=1)))
    assert seen == []


WORDS, LENGTH, SEPARATOR = 24, 4, 1


def rows(pairs: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of begin, source, separator, target; labels where the target is predicted."""
    ids = torch.tensor(
        [
            [0, *(2 + word for word in one), SEPARATOR, *(2 + WORDS + w for w in two)]
            for one, two in pairs
        ]
    )
    labels = torch.full_like(ids, IGNORED)
    labels[:, LENGTH + 1 : -1] = ids[:, LENGTH + 2 :]
    return ids, labels


def learned_from_noise(weight: float, seed: int) -> float:
    """Nats a token of right pairs that were held out, after learning to translate word by
    word from pairs of which a half have the target of another."""
    dice = random.Random(seed)
    table = dice.sample(range(WORDS), WORDS)

    def pair() -> tuple[list[int], list[int]]:
        words = dice.choices(range(WORDS), k=LENGTH)
        return words, [table[word] for word in words]

    pairs, held_out = [pair() for _ in range(1000)], rows([pair() for _ in range(200)])
    wrong = dice.sample([two for _, two in pairs[::2]], 500)
    pairs[::2] = [(one, two) for (one, _), two in zip(pairs[::2], wrong, strict=True)]
    model = tiny.model(2 + 2 * WORDS, seed=seed).train()
    learner = torch.optim.AdamW(model.parameters(), lr=3e-3)
    head, correction = HeadLoss(model), SelfCorrection(weight, 0.5, 300)
    for step in range(correction.steps):
        ids, labels = rows(dice.choices(pairs, k=32))
        revision = correction.at(step, labels != IGNORED)
        summed = head.summed({"input_ids": ids}, labels, revision)
        learner.zero_grad()
        (summed / (32 * LENGTH)).backward()
        learner.step()
    with torch.no_grad():
        summed = head.summed({"input_ids": held_out[0]}, held_out[1])
    return summed.item() / (200 * LENGTH)


def test_right_pairs_are_expected_better_after_learning_from_noise() -> None:
    plain, corrected = (learned_from_noise(weight, seed=1) for weight in (0.0, 0.5))
    assert corrected < 0.8 * plain
