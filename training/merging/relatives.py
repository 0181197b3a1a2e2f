"""Models that grew from one base, opened side by side: tensor by tensor, row by row.

Their bodies have tensors of equal names and shapes. Their vocabularies may differ: rows
belong together that stand for the same token string, wherever they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from training.errors import BaseUnsuitable, TokenizerMismatch
from training.families import load_model, load_tokenizer
from training.merging import is_tied
from training.vocabulary.counting import word_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# Of the smaller vocabulary; below this two tokenizers have nothing to do with each other.
SHARED_TOKENS_AT_LEAST = 0.5


@dataclass
class Relative:
    """One model: its tensors by name, its tokens, which tensors have a row per token."""

    folder: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    tensors: dict[str, torch.Tensor]
    ids: dict[str, int]
    rows: tuple[str, ...]

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor in float32."""
        return self.tensors[name].float()


def open_relative(folder: Path, dtype: str | torch.dtype | None = "auto") -> Relative:
    """Load a model and its tokenizer; by default in the type that is stored."""
    model = load_model(folder, dtype=dtype)
    tokenizer = load_tokenizer(folder)
    # A parameter that is used twice is named once: a tied head is no tensor of its own.
    tensors = {name: p.data for name, p in model.named_parameters()}
    modules = [model.get_input_embeddings()]
    if not is_tied(model):
        modules.append(model.get_output_embeddings())
    of_tokens = {
        id(p) for module in modules if module is not None for p in module.parameters()
    }
    rows = tuple(n for n, p in model.named_parameters() if id(p) in of_tokens)
    return Relative(folder, model, tokenizer, tensors, tokenizer.get_vocab(), rows)


def check_related(one: Relative, other: Relative) -> None:
    """Raise BaseUnsuitable or TokenizerMismatch unless the two grew from one base."""
    name = other.folder.name
    if set(one.tensors) != set(other.tensors):
        odd = sorted(set(one.tensors) ^ set(other.tensors))[0]
        raise BaseUnsuitable(
            f"The model {name} has other parts than the job's model, for instance {odd}.",
            hint="Only models that grew from the same base can be merged.",
        )
    for part, tensor in one.tensors.items():
        if part not in one.rows and tensor.shape != other.tensors[part].shape:
            raise BaseUnsuitable(
                f"The model {name} has {part} in the shape "
                f"{tuple(other.tensors[part].shape)}, the job's model in "
                f"{tuple(tensor.shape)}.",
                hint="Only models that grew from the same base can be merged, and not "
                "those in which bottlenecks have made the feed-forward layers wider.",
            )
    shared = len(one.ids.keys() & other.ids.keys())
    if shared < SHARED_TOKENS_AT_LEAST * min(len(one.ids), len(other.ids)):
        raise TokenizerMismatch(
            f"The tokenizer of {name} shares only {shared:,} tokens with the job's.",
            hint="Only models that grew from the same base can be merged.",
        )


def shared_rows(
    one: Relative, *others: Relative
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Ids of the tokens that all have: in `one`, and in each of the others."""
    names = set(one.ids).intersection(*(other.ids for other in others))
    ordered = sorted(names, key=one.ids.__getitem__)
    index = [torch.tensor([of.ids[name] for name in ordered]) for of in (one, *others)]
    return index[0], index[1:]


class OldPieces:
    """The old vocabulary as something that takes new tokens apart.

    By the tokenizer's own model on the internal form: the decoded string would be taken
    apart wrongly.
    """

    def __init__(self, old: PreTrainedTokenizerFast) -> None:
        plain = json.loads(old.backend_tokenizer.to_str())
        self.bare = word_tokenizer(plain)

    def ids(self, token: str) -> list[int]:
        """Old ids of a token's string, at least one where the string is not empty."""
        return self.bare.encode(token, add_special_tokens=False).ids


def rows_as_means(one: Relative, old: Relative, name: str) -> torch.Tensor:
    """The rows `name` of `old` for the vocabulary of `one`, [rows of one, width].

    A token that both have keeps its row, another gets the mean of its old pieces' rows;
    rows that belong to no token are the mean of all.
    """
    source = old.tensor(name)
    made = source.mean(dim=0).repeat(
        one.tensors[name].shape[0], *[1] * (source.dim() - 1)
    )
    pieces = OldPieces(old.tokenizer)
    for token, id_ in one.ids.items():
        ids = [old.ids[token]] if token in old.ids else pieces.ids(token)
        if ids:
            made[id_] = source[ids].mean(dim=0)
    return made
