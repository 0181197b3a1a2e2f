"""KS-Lottery: the few rows of the embedding that matter for a language.

Yuan et al. 2024. All embeddings learn for a short trial; the rows whose values are
distributed most differently afterwards, by the two-sample Kolmogorov-Smirnov statistic,
are the winning ones. They are put back like all others, and then learn alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from training import compute, manifest

# Rows compared at once, so that memory does not grow with the vocabulary.
ROWS_AT_ONCE = 4_096


def winning_rows(
    matrix: torch.nn.Parameter,
    count: int,
    trial: Callable[[], object],
    path: Path,
    among: Sequence[int],
) -> list[int]:
    """Of the ids `among`, the `count` whose rows `trial` changes most, rising.

    Padding rows are of no token and no candidates: where input and output are one matrix
    they are pushed down with every step, and would win.

    The matrix and the generators are as before afterwards. The ids are kept in `path`: a
    resumed run has no second trial.
    """
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    state, before = compute.random_state(), matrix.detach().clone()
    trial()
    with torch.no_grad():
        statistic = kolmogorov_smirnov(before, matrix)
        matrix.copy_(before)
    compute.restore_random_state(state)
    candidates = torch.tensor(sorted(among))
    order = statistic.cpu()[candidates].argsort(descending=True, stable=True)
    ids = sorted(candidates[order[:count]].tolist())
    manifest.write_json(path, ids)
    return ids


@torch.no_grad()
def kolmogorov_smirnov(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The statistic for each pair of rows [rows] of two matrices [rows, values]."""
    found = []
    for a, b in zip(one.split(ROWS_AT_ONCE), other.split(ROWS_AT_ONCE), strict=True):
        a, b = a.sort(1).values, b.sort(1).values
        places = torch.cat([a, b], 1)
        gap = [torch.searchsorted(x, places, right=True) for x in (a, b)]
        found.append((gap[0] - gap[1]).abs().amax(1) / one.shape[1])
    return torch.cat(found)
