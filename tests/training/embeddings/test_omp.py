"""Sparse combinations are found again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training import tiny
from tests.training.embeddings import material
from training.embeddings import omp
from training.errors import MaterialMissing


def synthetic(terms: int) -> tuple[torch.Tensor, torch.Tensor, list[list[int]]]:
    """Rows (20, 64) that are combinations of a few of 200 anchors."""
    generator = torch.Generator().manual_seed(1)
    anchors = torch.randn(200, 64, generator=generator, dtype=torch.float64)
    rows, used = torch.empty(20, 64, dtype=torch.float64), []
    for at in range(20):
        chosen = torch.randperm(200, generator=generator)[:terms]
        weights = torch.randn(terms, generator=generator, dtype=torch.float64).sign()
        weights *= 1 + torch.rand(terms, generator=generator, dtype=torch.float64)
        rows[at] = weights @ anchors[chosen]
        used.append(chosen.tolist())
    return rows, anchors, used


@pytest.mark.parametrize("terms", [1, 2, 3, 4])
def test_a_sparse_combination_is_recovered(terms: int) -> None:
    rows, anchors, used = synthetic(terms)
    chosen, weights = omp.pursue(rows, anchors, 12)
    rebuilt = torch.einsum("nk,nkd->nd", weights, anchors[chosen])
    assert (rebuilt - rows).abs().max() < 1e-4
    for at, expected in enumerate(used):
        live = {
            int(i)
            for i, w in zip(chosen[at], weights[at], strict=True)
            if abs(w) > 1e-6
        }
        assert live == set(expected)


def test_each_term_leaves_less_and_too_few_are_not_enough() -> None:
    rows, anchors, _ = synthetic(4)
    left = []
    for terms in (1, 2, 3, 8):
        chosen, weights = omp.pursue(rows, anchors, terms)
        rebuilt = torch.einsum("nk,nkd->nd", weights, anchors[chosen])
        left.append((rebuilt - rows).norm().item())
    assert left == sorted(left, reverse=True)
    assert left[1] > 0.1 > left[3]  # the control: two terms cannot


def test_no_anchor_is_taken_twice() -> None:
    rows, anchors, _ = synthetic(4)
    chosen, _ = omp.pursue(rows, anchors, 32)
    assert all(len(set(row.tolist())) == 32 for row in chosen)


def test_coefficients_of_the_donor_are_applied_to_the_base(tmp_path: Path) -> None:
    """A donor whose new row is half of two anchors: so is the base's."""
    folder = material.donor(tmp_path)
    from training import families

    model = families.load_model(folder)
    tokenizer = families.load_tokenizer(folder).backend_tokenizer
    request = material.request("omp", donor=folder)
    ids = omp.texts_of(tokenizer)
    by_text = {text: id_ for id_, text in ids.items()}
    old = omp.texts_of(material.bases.byte_level())
    anchors = [(i, by_text[t]) for i, t in sorted(old.items()) if t in by_text][-2:]
    token = next(t for t in request.tokens if t.text in by_text and len(t.text) > 2)
    with torch.no_grad():
        rows = model.get_input_embeddings().weight
        rows[by_text[token.text]] = (
            0.5 * rows[anchors[0][1]] + 0.5 * rows[anchors[1][1]]
        )
    model.save_pretrained(folder)
    mixture = omp.weigh(request).input[token.id]
    big = {id_: weight for id_, weight in mixture.items() if abs(weight) > 1e-3}
    assert big == pytest.approx({anchors[0][0]: 0.5, anchors[1][0]: 0.5}, abs=1e-4)


def test_a_donor_of_another_language_is_refused(tmp_path: Path) -> None:
    words = tiny.tokenizer(tiny.documents(40, script="tibetan"), size=300)
    words.save_pretrained(tmp_path)
    tiny.model(len(words)).save_pretrained(tmp_path)
    with pytest.raises(MaterialMissing, match="0 of the new ones"):
        omp.weigh(material.request("omp", donor=tmp_path))
