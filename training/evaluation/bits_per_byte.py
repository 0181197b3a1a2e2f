"""Bits per byte: how well a model predicts text, comparable across tokenizers.

The definition is lm-eval's `bits_per_byte`: the negative log-likelihood of *all* tokens
of a text, in bits, over the text's UTF-8 bytes. Text is cut into chunks of a fixed number
of characters, so that a tokenizer with longer pieces does not see more context; each chunk
is read after a start token, and its first token counts like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from training.data.packing import IGNORED
from training.data.tokens import encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# Logits held at once (float32: 128 MB on a CPU, as many as a chunk that is learned), and
# tokens of a forward pass at most.
LOGITS_AT_ONCE = {"cpu": 2**25, "cuda": 2**26}
TOKENS_AT_ONCE = 8_192


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood in nats of `tokens` tokens, `bytes` UTF-8 bytes of text."""

    nats: float
    tokens: int
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte; 0 for no text."""
        return self.nats / math.log(2) / self.bytes if self.bytes else 0.0


@dataclass(frozen=True)
class Chunks:
    """Windows of ids ready to be measured: (ids with a start token, targets scored).

    Made once for each tokenizer and text; `scored` is the number of last targets that
    count in a window.
    """

    windows: Sequence[tuple[list[int], int]]
    bytes: int


def cut_chunks(texts: Iterable[str], characters: int) -> Iterator[str]:
    """Pieces of `characters` characters of each text; the last ones are shorter."""
    for text in texts:
        for start in range(0, len(text), characters):
            yield text[start : start + characters]


def prepare_chunks(
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterable[str],
    *,
    start: int,
    chunk_characters: int,
    positions: int,
) -> Chunks:
    """Tokenise texts for `measure`.

    A chunk with more tokens than the model has `positions` is read in windows that
    overlap by half; every token is scored once.
    """
    chunks = list(cut_chunks(texts, chunk_characters))
    windows = []
    for ids in encode(tokenizer, chunks):
        windows.extend(_windows([start, *ids], positions))
    return Chunks(windows, sum(len(chunk.encode()) for chunk in chunks))


def _windows(ids: list[int], positions: int) -> Iterator[tuple[list[int], int]]:
    """(ids, last targets scored): inputs are all ids but the last."""
    targets = len(ids) - 1
    scored = min(targets, positions)
    if scored:
        yield ids[: scored + 1], scored
    step = max(1, positions // 2)
    while scored < targets:
        now = min(step, targets - scored)
        stop = scored + now
        yield ids[stop - min(positions, stop) : stop + 1], now
        scored = stop


@torch.no_grad()
def measure(
    model: PreTrainedModel, chunks: Chunks, *, tokens_at_once: int = TOKENS_AT_ONCE
) -> Likelihood:
    """Likelihood of prepared chunks, in float32, summed in float64.

    Windows of like length are read together, up to `tokens_at_once` tokens; padding is
    on the right, where a causal model cannot see it.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    nats, tokens = 0.0, 0
    logits = LOGITS_AT_ONCE[device.type]
    together = min(tokens_at_once, logits // model.config.vocab_size)
    for batch in _batches(chunks.windows, together):
        width = len(batch[0][0]) - 1
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        labels = torch.full((len(batch), width), IGNORED)
        for row, (window, scored) in enumerate(batch):
            length = len(window) - 1
            ids[row, :length] = torch.tensor(window[:-1])
            labels[row, length - scored : length] = torch.tensor(window[-scored:])
        logits = model(input_ids=ids.to(device), use_cache=False).logits.float()
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.to(device).flatten(), reduction="none"
        )
        nats += loss.double().sum().item()
        tokens += sum(scored for _, scored in batch)
    model.train(training)
    return Likelihood(nats, tokens, chunks.bytes)


def _batches(
    windows: Sequence[tuple[list[int], int]], together: int
) -> Iterator[list[tuple[list[int], int]]]:
    """Windows from the longest down, as many at once as fit."""
    order = sorted(windows, key=lambda window: -len(window[0]))
    first = 0
    while first < len(order):
        count = max(1, together // len(order[first][0]))
        yield order[first : first + count]
        first += count


def bits_per_byte(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterable[str],
    *,
    start: int,
    chunk_characters: int = 400,
) -> float:
    """Bits per byte of texts in one call; `start` is the id before each chunk."""
    chunks = prepare_chunks(
        tokenizer,
        texts,
        start=start,
        chunk_characters=chunk_characters,
        positions=maximum_positions(model),
    )
    return measure(model, chunks).bits_per_byte


def maximum_positions(model: PreTrainedModel) -> int:
    """The longest input the model was made for, in tokens."""
    config = model.config
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length"):
        positions = getattr(config, name, None)
        if positions:
            return int(positions)
    return 2_048
