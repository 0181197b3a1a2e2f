"""Write rows of a model for new tokens, found by id.

A vocabulary is often padded: the model has more rows than the tokenizer has ids. New ids
may then fall on rows that exist and hold nothing learned, and "the last n rows" are not
the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from training.embeddings.request import OldRows, Request, Rows, mean_row
from training.errors import TokenizerMismatch
from training.merging import is_tied

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def rows_needed(existing: int, highest_id: int, multiple: int) -> int:
    """Rows for ids up to `highest_id`, rounded up, and never fewer than there are."""
    return max(existing, -(-(highest_id + 1) // multiple) * multiple)


def read(model: PreTrainedModel, request: Request) -> OldRows:
    """The matrices as they are; raises TokenizerMismatch where the tie is unclear."""
    tied = is_tied(model)
    if tied != bool(model.config.tie_word_embeddings):
        raise TokenizerMismatch(
            "The base model's configuration and its weights do not agree about whether "
            "the input and output rows are one matrix."
        )
    matrix = model.get_input_embeddings().weight.detach()
    head = model.get_output_embeddings()
    bias = getattr(head, "bias", None)
    # Rows that move are written over while they are read.
    own = torch.clone if request.kept is not None else torch.Tensor.detach
    return OldRows(
        input=own(matrix),
        output=None if head is None or tied else own(head.weight.detach()),
        bias=None if bias is None else own(bias.detach()),
        used=_used(request, matrix.shape[0]),
    )


def _used(request: Request, existing: int) -> torch.Tensor:
    """Ids of the old tokenizer; without one, all rows that are not new tokens'."""
    if request.old is not None:
        ids = sorted(set(request.old.get_vocab().values()))
    elif request.kept is not None:
        ids = sorted(set(request.kept.values()))
    else:
        ids = [id_ for id_ in range(existing) if id_ not in request.new_ids]
    return torch.tensor([id_ for id_ in ids if id_ < existing])


@torch.no_grad()
def write(model: PreTrainedModel, request: Request, old: OldRows, rows: Rows) -> None:
    """Put the rows into the model, in place, by id; carried rows keep every bit.

    Without `kept` the old rows stay where they are and the matrix only grows. With it
    the model has rows for the new vocabulary alone. Ids that nobody has (rounding) get
    the mean of the old rows. Raises TokenizerMismatch where an id has no row to come
    from, or tied matrices came apart.
    """
    tied = is_tied(model)
    existing = old.input.shape[0]
    ids = [token.id for token in request.tokens]
    kept = request.kept
    if kept is None:
        size = existing
        if ids:
            size = rows_needed(existing, max(ids), request.multiple)
        spare = sorted(set(range(existing, size)) - request.new_ids)
    else:
        _refuse_unknown(request, existing)
        highest = max([*ids, *kept])
        size = rows_needed(0, highest, request.multiple)
        spare = sorted(set(range(size)) - request.new_ids - set(kept))
    if size != existing:
        model.resize_token_embeddings(size, mean_resizing=False)
    head = model.get_output_embeddings()
    _fill(
        model.get_input_embeddings().weight, old.input, rows.input, ids, request, spare
    )
    if old.output is not None and rows.output is not None:
        _fill(head.weight, old.output, rows.output, ids, request, spare)
    if old.bias is not None and rows.bias is not None:
        _fill(head.bias, old.bias, rows.bias, ids, request, spare)
    if is_tied(model) != tied:
        raise TokenizerMismatch("The input and output rows came apart.")


def _fill(
    matrix: torch.Tensor,
    old: torch.Tensor,
    rows: torch.Tensor,
    ids: Sequence[int],
    request: Request,
    spare: Sequence[int],
) -> None:
    """Carried rows, new rows and spare rows of one matrix (V, d) or bias (V,)."""
    mean = mean_row(old, _used(request, old.shape[0])) if spare else None
    if request.kept:
        carried: Mapping[int, int] = request.kept
        matrix[list(carried)] = old[list(carried.values())]
    if ids:
        matrix[list(ids)] = rows.to(device=matrix.device, dtype=matrix.dtype)
    if mean is not None:
        matrix[list(spare)] = mean.to(device=matrix.device, dtype=matrix.dtype)


def _refuse_unknown(request: Request, existing: int) -> None:
    """Every id of the new tokenizer is carried over or new, never both."""
    assert request.kept is not None
    both = request.new_ids & set(request.kept)
    beyond = [id_ for id_ in request.kept.values() if not 0 <= id_ < existing]
    known = request.new_ids | set(request.kept)
    named = set(request.new.get_vocab().values()) if request.new else known
    if both or beyond or named - known:
        raise TokenizerMismatch(
            f"The new vocabulary does not fit the old one: {len(named - known)} ids "
            f"have no row, {len(both)} have two, {len(beyond)} old rows do not exist."
        )
