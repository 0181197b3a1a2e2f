"""Targets that the model revises (training/self_correction.py), on misaligned pairs.

    python bench/noisy_pairs.py

A made-up language of 24 words that is translated word by word, 2,000 pairs of four words,
of which a part has the target of another pair; a Llama of two layers and width 32, 600
steps of 32 pairs. Printed for five seeds: nats a word of 200 right pairs that were held
out, and the part of their words that the model would have written.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from training.data.packing import IGNORED  # noqa: E402
from training.head_loss import HeadLoss  # noqa: E402
from training.self_correction import SelfCorrection  # noqa: E402

WORDS, LENGTH, SEPARATOR = 24, 4, 1
PAIRS, STEPS, BATCH = 2_000, 600, 32
WRONG = (0.0, 0.3, 0.5, 0.7)
# (trust at the last step, temperature); without sharpening steps are merely shorter.
ARMS = ((0.0, 0.5), (0.5, 0.5), (0.8, 0.5), (0.5, 0.99))

Pair = tuple[list[int], list[int]]


def rows(pairs: list[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
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


def material(wrong: float, seed: int) -> tuple[list[Pair], list[Pair], random.Random]:
    """Pairs to learn from, right pairs that are held out, and the dice."""
    dice = random.Random(seed)
    table = list(range(WORDS))
    dice.shuffle(table)

    def pair() -> Pair:
        words = [dice.randrange(WORDS) for _ in range(LENGTH)]
        return words, [table[word] for word in words]

    pairs = [pair() for _ in range(PAIRS)]
    count = int(wrong * PAIRS)
    targets = [two for _, two in pairs[:count]]
    dice.shuffle(targets)
    pairs[:count] = [(one, two) for (one, _), two in zip(pairs, targets, strict=False)]
    dice.shuffle(pairs)
    return pairs, [pair() for _ in range(200)], dice


def learn(wrong: float, weight: float, temperature: float, seed: int) -> str:
    """Nats and right words on what was held out."""
    pairs, right, dice = material(wrong, seed)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=2 + 2 * WORDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).train()
    learner = torch.optim.AdamW(model.parameters(), lr=3e-3)
    head, correction = HeadLoss(model), SelfCorrection(weight, temperature, STEPS)
    for step in range(STEPS):
        ids, labels = rows([dice.choice(pairs) for _ in range(BATCH)])
        revision = correction.at(step, labels != IGNORED)
        summed = head.summed({"input_ids": ids}, labels, revision)
        learner.zero_grad()
        (summed / (BATCH * LENGTH)).backward()
        learner.step()
    ids, labels = rows(right)
    learned = labels != IGNORED
    with torch.no_grad():
        nats = head.summed({"input_ids": ids}, labels).item() / int(learned.sum())
        found = model(input_ids=ids).logits.argmax(-1) == labels
    return f"{nats:.3f} ({found[learned].float().mean().item():.0%})"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wrong in WRONG:
        for weight, temperature in ARMS:
            found = [learn(wrong, weight, temperature, seed) for seed in range(1, 6)]
            print(wrong, weight, temperature, *found, flush=True)
