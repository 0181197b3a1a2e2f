"""Train BPE on counted words: the vocabulary a language would choose for itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, models, trainers

# The trainer is handed each word as often as it occurs; beyond this all counts are
# divided by the same number, and words that then count nothing are left out.
MOST_OCCURRENCES = 20_000_000


def train(
    words: Counter[str],
    *,
    pieces: int,
    least: int,
    longest: int,
    alphabet: Iterable[str] = (),
) -> list[tuple[str, str]]:
    """Merges in their order, as pairs of pieces in the internal form of the words.

    `pieces`: merges at most; `least`: occurrences of a pair at least; `longest`: letters
    of a piece at most; `alphabet`: letters that are there from the start. The algorithm
    is byte-pair encoding (Sennrich et al. 2016) as the tokenizers library has it.
    """
    letters = {letter for word in words for letter in word}.union(alphabet)
    made = Tokenizer(models.BPE())
    factor = 1 + sum(words.values()) // MOST_OCCURRENCES
    made.train_from_iterator(
        _repeated(words, factor),
        trainers.BpeTrainer(
            vocab_size=len(letters) + pieces,
            min_frequency=max(least // factor, 1),
            initial_alphabet=sorted(letters),
            max_token_length=longest,
            show_progress=False,
        ),
    )
    merges = json.loads(made.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges]


def _repeated(words: Counter[str], factor: int) -> Iterator[list[str]]:
    for word, count in words.items():
        if count >= factor:
            yield [word] * (count // factor)
