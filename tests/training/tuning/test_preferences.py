"""Preference tuning: every method against its definition, and what it does to a model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from trl.kernels import chunked_logprob

from tests.training import tiny
from training import adapters, templates
from training.data.preferences import (
    PairIds,
    Preference,
    encode_pair,
    preferences_of,
)
from training.settings.align_preferences import METHODS
from training.spec import AlignPreferences
from training.tuning import preferences, sft

QUESTIONS = tiny.documents(24, script="latin", seed=7, sentences=1)
BETTER = tiny.documents(24, script="latin", seed=8, sentences=1)
WORSE = tiny.documents(24, script="cyrillic", seed=9, sentences=1)


def settings_of(method: str, **more) -> AlignPreferences:
    values = {
        "method": method,
        "steps": 4,
        "lora_rank": 8,
        "learning_rate": 2e-2,
        "batch_pairs": 4,
        "maximum_tokens": 128,
        "precision": "float32",
    }
    return AlignPreferences(**{**values, **more})


@pytest.fixture(scope="module")
def words():
    made = tiny.tokenizer(tiny.documents(60, script="latin"))
    return made, templates.set_up(made)


@pytest.fixture(scope="module")
def pairs(words) -> list[PairIds]:
    tokenizer, form = words
    found = [
        encode_pair(
            tokenizer, Preference([{"role": "user", "content": q}], a, b), form, 128
        )
        for q, a, b in zip(QUESTIONS, BETTER, WORSE, strict=True)
    ]
    assert None not in found
    return found  # type: ignore[return-value]


def tuned_model(tokenizer, settings: AlignPreferences, tied: bool = True):
    torch.manual_seed(3)
    model = tiny.model(len(tokenizer), tied=tied)
    additions = adapters.Additions(
        settings.additions, settings.lora_rank, settings.lora_alpha
    )
    return adapters.attach(model, additions, stage="align_preferences")


def trainer_of(tmp_path: Path, words, pairs, settings, model):
    tokenizer, _ = words
    pad = tokenizer.pad_token_id
    reference = preferences.likelihoods(model, pairs, pad=pad)
    mismatched = preferences.likelihoods(
        model, preferences.mismatched_pairs(pairs), pad=pad
    )
    order = sft.batch_order(
        [pair.length for pair in pairs],
        batch=settings.batch_pairs,
        steps=settings.steps,
        seed=1,
    )
    values = sft.trainer_values(
        tmp_path,
        sft.Plan(settings.steps, 1, "float32", 0.1, len(pairs)),
        batch=settings.batch_pairs,
        at_once=2,
        learning_rate=settings.learning_rate,
        seed=1,
        device=torch.device("cpu"),
    )
    trainer = preferences.build_trainer(
        model,
        tokenizer,
        preferences.rows_of(settings.method, pairs, order, reference, mismatched),
        settings,
        preferences.configuration(settings, values),
    )
    return trainer, reference


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    ["dpo", *(pytest.param(m, marks=pytest.mark.slow) for m in METHODS if m != "dpo")],
)
def test_the_better_answer_wins_and_with_swapped_labels_it_loses(
    tmp_path: Path, words, pairs, method: str
):
    learned, unseen = pairs[:16], pairs[20:]
    swapped = [PairIds(p.prompt, p.rejected, p.chosen, p.bytes) for p in learned]
    gained = {}
    for name, material in (("right", learned), ("swapped", swapped)):
        # orpo also learns the better answers' text, which at 0.1 outweighs the pairs.
        settings = settings_of(method, beta=1.0 if method == "orpo" else 0.0)
        model = tuned_model(words[0], settings)
        trainer, _ = trainer_of(tmp_path / name, words, material, settings, model)
        pad = words[0].pad_token_id
        before = preferences.likelihoods(model, unseen, pad=pad)
        preferences.train(trainer)
        after = preferences.likelihoods(model, unseen, pad=pad)
        gained[name] = (
            preferences.margins(after, before, settings)["margin"]
            - preferences.margins(before, before, settings)["margin"]
        )
    assert gained["right"] > 0.01 > -0.01 > gained["swapped"], gained


def expected_loss(method: str, now, reference, beta: float, gamma: float) -> float:
    """The papers' formulas, on the first two pairs."""
    policy, before = now.sums[:2], reference.sums[:2]
    ratio = (policy - before)[:, 0] - (policy - before)[:, 1]
    sigmoid = torch.nn.functional.logsigmoid
    if method == "dpo":
        return -sigmoid(beta * ratio).mean().item()
    if method == "ipo":
        means = (policy - before) / now.tokens[:2]
        gap = means[:, 0] - means[:, 1]
        return ((gap - 1 / (2 * beta)) ** 2).mean().item()
    mean = now.means[:2]
    if method == "simpo":
        return -sigmoid(beta * (mean[:, 0] - mean[:, 1]) - gamma).mean().item()
    odds = mean - torch.log1p(-mean.exp())
    return -beta * sigmoid(odds[:, 0] - odds[:, 1]).mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "ipo", "simpo", "orpo"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_is_the_papers(tmp_path: Path, words, pairs, method: str, tied: bool):
    """On a model that has moved away from its reference, so that no term is zero."""
    settings = settings_of(method)
    model = tuned_model(words[0], settings, tied)
    pad = words[0].pad_token_id
    trainer, reference = trainer_of(tmp_path, words, pairs[:2], settings, model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    now = preferences.likelihoods(model, pairs[:2], pad=pad)
    rows = preferences.rows_of(method, pairs[:2], [0, 1], reference)
    batch = trainer.data_collator(list(rows))
    model.eval()
    loss = trainer.compute_loss(trainer.model, batch).item()
    wanted = expected_loss(
        method, now, reference, preferences.beta_of(settings), settings.simpo_margin
    )
    if method == "orpo":
        # Beside the odds ratio it learns the whole of the better one.
        ids = [torch.tensor([pair.prompt + pair.chosen]) for pair in pairs[:2]]
        with torch.no_grad():
            nats = [
                torch.nn.functional.cross_entropy(
                    model(input_ids=one).logits[0, :-1], one[0, 1:], reduction="sum"
                )
                for one in ids
            ]
        wanted += sum(nats).item() / sum(one.shape[1] - 1 for one in ids)
    assert loss == pytest.approx(wanted, rel=1e-4)
    assert math.isfinite(loss)


def test_kto_judges_each_answer_by_itself(tmp_path: Path, words, pairs):
    settings = settings_of("kto")
    model = tuned_model(words[0], settings)
    pad = words[0].pad_token_id
    trainer, reference = trainer_of(tmp_path, words, pairs[:2], settings, model)
    others = preferences.mismatched_pairs(pairs[:2])
    before = preferences.likelihoods(model, others, pad=pad)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    now = preferences.likelihoods(model, pairs[:2], pad=pad)
    moved = preferences.likelihoods(model, others, pad=pad)
    drift = (moved.sums - before.sums).mean().clamp(min=0)
    change = now.sums - reference.sums
    good = 1 - torch.sigmoid(0.1 * (change[:, 0] - drift))
    bad = 1 - torch.sigmoid(0.1 * (drift - change[:, 1]))
    rows = preferences.rows_of("kto", pairs[:2], [0, 1], reference, before)
    model.eval()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(list(rows)))
    assert loss.item() == pytest.approx(torch.cat([good, bad]).mean().item(), rel=1e-4)


def test_no_second_adapter_is_kept(tmp_path: Path, words, pairs):
    settings = settings_of("dpo")
    model = tuned_model(words[0], settings)
    trainer_of(tmp_path, words, pairs, settings, model)
    assert list(model.peft_config) == ["default"]
    assert not any(".ref." in name for name, _ in model.named_parameters())


def test_on_a_cpu_trl_takes_few_tokens_at_once(
    tmp_path: Path, words, pairs, monkeypatch: pytest.MonkeyPatch
):
    """What it makes on the way back is a multiple of tokens x rows."""
    tiles: list[int] = []
    whole = chunked_logprob._backward_tile

    def counted(tile: torch.Tensor, *arguments, **values):
        tiles.append(len(tile))
        whole(tile, *arguments, **values)

    monkeypatch.setattr(chunked_logprob, "_backward_tile", counted)
    monkeypatch.setattr(chunked_logprob, "TOKEN_CHUNK_SIZE", 4_096)
    monkeypatch.setattr(preferences, "TOKENS_ON_A_CPU", 5)
    settings = settings_of("dpo")
    model = tuned_model(words[0], settings)
    trainer, _ = trainer_of(tmp_path, words, pairs, settings, model)
    preferences.train(trainer)
    assert max(tiles) == 5


def test_a_pass_takes_the_pairs_that_fit():
    """Rows of a pair, logits of 2**25 numbers on a CPU, and what the model keeps."""
    assert preferences.at_once(8, 256, 32, "cpu", 3_072) == 4
    assert preferences.at_once(8, 256, 32_000, "cpu", 3_072) == 2
    assert preferences.at_once(8, 256, 32_000, "cuda", 3_072) == 4
    assert preferences.at_once(8, 256, 32, "cpu", 100) == 1


def test_likelihoods_do_not_depend_on_what_stands_beside(words, pairs):
    model = tuned_model(words[0], settings_of("dpo"))
    pad = words[0].pad_token_id
    both = preferences.likelihoods(model, pairs[:2], pad=pad)
    alone = preferences.likelihoods(model, pairs[1:2], pad=pad)
    assert torch.equal(both.sums[1], alone.sums[0])
    pair = pairs[0]
    ids = torch.tensor([pair.prompt + pair.rejected])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    picked = logits.gather(1, ids[0, 1:, None])[len(pair.prompt) - 1 :].sum()
    assert both.sums[0, 1].item() == pytest.approx(picked.item(), abs=1e-3)


ASK = {"role": "user", "content": "Nani?"}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASK], "chosen": "Mimi.", "rejected": " Wewe. "},
        {"prompt": "Nani?", "chosen": "Mimi.", "rejected": "Wewe."},
        {
            "chosen": [ASK, {"role": "assistant", "content": "Mimi."}],
            "rejected": [ASK, {"role": "assistant", "content": "Wewe."}],
        },
    ],
)
def test_forms_of_rows(row: dict):
    assert preferences_of([row]) == ([Preference([ASK], "Mimi.", "Wewe.")], 0)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASK], "chosen": "a", "rejected": "a"},
        {"messages": [ASK], "chosen": "a"},
        {"messages": [], "chosen": "a", "rejected": "b"},
        {"chosen": "a", "rejected": "b"},
        {"messages": [ASK, ASK], "chosen": "a", "rejected": "b"},
        {
            "messages": [ASK, {"role": "tool", "content": "x"}],
            "chosen": "a",
            "rejected": "b",
        },
    ],
)
def test_rows_without_two_answers_to_a_question_are_counted(row: dict):
    assert preferences_of([row]) == ([], 1)


def test_ids_are_those_of_a_chat_and_answers_are_cut(words):
    tokenizer, form = words
    turns = [
        ASK,
        {"role": "assistant", "content": "Sijui."},
        {"role": "user", "content": "Kweli?"},
    ]
    pair = encode_pair(tokenizer, Preference(turns, "ba ko", "mi ren"), form, 200)
    assert pair is not None
    assert pair.prompt == templates.render(tokenizer, turns, answer=True)
    assert tokenizer.decode(pair.chosen).startswith("ba ko")
    assert pair.chosen[-1] == pair.rejected[-1] == form.end_of_turn
    short = encode_pair(
        tokenizer, Preference(turns, "ba ko", "mi ren"), form, len(pair.prompt) + 1
    )
    assert short is not None and len(short.chosen) == len(short.rejected) == 1
    limit = len(pair.prompt)
    assert encode_pair(tokenizer, Preference(turns, "a", "b"), form, limit) is None
