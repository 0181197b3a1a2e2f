"""What a method is given to make rows for new tokens, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from training.vocabulary.extension import NewToken

ROWS_AT_ONCE = 8_192

# Weights of old ids; a token's row is the weighted sum of their rows.
Mixture = dict[int, float]


def _nothing() -> Iterable[str]:
    return ()


def _no_pairs() -> Iterable[tuple[str, str]]:
    return ()


@dataclass(frozen=True)
class Request:
    """Tokens that need rows, and all that a method may use to find them.

    `tokens` carry their ids in the new vocabulary. `kept` is None where every old id
    stays what it is, else a map from new id to the old id whose row is carried over.
    `old` and `new` are the tokenizers; `base_texts` are in the base's language. `pairs`
    are sentences and `dictionary` words, as (base's language, target language).
    """

    tokens: Sequence[NewToken]
    method: str = "mean_first"
    seed: int = 1
    multiple: int = 64
    kept: Mapping[int, int] | None = None
    old: Tokenizer | None = None
    new: Tokenizer | None = None
    target_texts: Callable[[], Iterable[str]] = _nothing
    base_texts: Callable[[], Iterable[str]] = _nothing
    pairs: Callable[[], Iterable[tuple[str, str]]] = _no_pairs
    dictionary: Callable[[], Iterable[tuple[str, str]]] = _no_pairs
    target_vectors: Path | None = None
    base_vectors: Path | None = None
    donor: Path | None = None
    rank: int = 0

    def old_id(self, id_: int) -> int | None:
        """The old id behind an id of the new vocabulary; None for a new token."""
        if self.kept is not None:
            return self.kept.get(id_)
        return None if id_ in self.new_ids else id_

    @cached_property
    def new_ids(self) -> frozenset[int]:
        """The ids that need rows."""
        return frozenset(token.id for token in self.tokens)

    def pieces(self) -> tuple[Tokenizer, Tokenizer]:
        """The old and the new tokenizer, for the methods that cut text with them."""
        assert self.old is not None and self.new is not None, "tokenizers are missing"
        return self.old, self.new


@dataclass(frozen=True)
class Mixtures:
    """Mixtures by new id for the input rows and the output rows.

    A token left out has the mean of its pieces; an empty mixture is the mean of all.
    """

    input: dict[int, Mixture]
    output: dict[int, Mixture]

    @classmethod
    def both(cls, mixtures: dict[int, Mixture]) -> Mixtures:
        """The same for input and output."""
        return cls(mixtures, mixtures)


@dataclass(frozen=True)
class OldRows:
    """The matrices before anything is written, in the stored type.

    `input` (V, d), `output` (V, d) or None where tied or absent, `bias` (V,) or None;
    `used` are the ids of the old tokenizer: padding rows hold nothing learned.
    """

    input: torch.Tensor
    output: torch.Tensor | None
    bias: torch.Tensor | None
    used: torch.Tensor


@dataclass(frozen=True)
class Rows:
    """New rows in the order of the tokens, float32 or float64, for each matrix there is.

    `covered`: how many tokens the method itself had an answer for.
    """

    input: torch.Tensor
    output: torch.Tensor | None
    bias: torch.Tensor | None
    covered: int = 0


def subtoken_mean(token: NewToken) -> Mixture:
    """Equal weights for the old pieces a token stands for; empty where there are none."""
    return count({}, token.base_ids)


def count(mixture: Mixture, ids: Iterable[int]) -> Mixture:
    """The mixture with the ids counted in, normalised to sum 1."""
    counted = dict(mixture)
    for id_ in ids:
        counted[id_] = counted.get(id_, 0.0) + 1.0
    return normalised(counted)


def normalised(mixture: Mixture) -> Mixture:
    """Positive weights, divided by their sum."""
    total = sum(mixture.values())
    return {id_: weight / total for id_, weight in mixture.items()} if total else {}


@torch.no_grad()
def mix(
    mixtures: Mapping[int, Mixture],
    tokens: Sequence[NewToken],
    matrix: torch.Tensor,
    used: torch.Tensor,
) -> torch.Tensor:
    """Rows (tokens, d) of a matrix (V, d), summed in float64.

    One old row of weight 1 is copied bit for bit.
    """
    rows = torch.empty(len(tokens), matrix.shape[1], dtype=torch.float64)
    everything = None
    for place, token in enumerate(tokens):
        mixture = mixtures.get(token.id)
        if mixture is None:
            mixture = subtoken_mean(token)
        if mixture:
            old = matrix[list(mixture)].cpu().double()
            weights = torch.tensor(list(mixture.values()), dtype=torch.float64)
            rows[place] = (weights[:, None] * old).sum(dim=0)
            continue
        if everything is None:
            everything = mean_row(matrix, used)
        rows[place] = everything
    return rows


def mean_row(matrix: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """The mean (d,) of the rows in use, in float64."""
    return sum(part.sum(dim=0) for part in in_double(matrix, used)) / len(used)


def in_double(matrix: torch.Tensor, used: torch.Tensor) -> Iterator[torch.Tensor]:
    """The rows in use as float64 on the CPU, a part at a time: whole, the rows of a
    large vocabulary are gigabytes.
    """
    for start in range(0, len(used), ROWS_AT_ONCE):
        yield matrix[used[start : start + ROWS_AT_ONCE]].cpu().double()


def from_mixtures(request: Request, old: OldRows, mixtures: Mixtures) -> Rows:
    """The rows that mixtures give, for every matrix; tied rows take the input's."""
    tokens = request.tokens
    head = mixtures.input if old.output is None else mixtures.output
    output = bias = None
    if old.output is not None:
        output = mix(head, tokens, old.output, old.used)
    if old.bias is not None:
        bias = mix(head, tokens, old.bias[:, None], old.used)[:, 0]
    return Rows(
        input=mix(mixtures.input, tokens, old.input, old.used),
        output=output,
        bias=bias,
        covered=sum(token.id in mixtures.input for token in tokens),
    )
