"""Sparsemax, copies and anchors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.embeddings import material
from training.embeddings import focus
from training.embeddings.words import texts_of


def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(20, 30))
    weights = focus.sparsemax(scores)
    assert (weights >= 0).all() and np.allclose(weights.sum(axis=1), 1, atol=1e-12)
    assert ((weights > 0).sum(axis=1) < 12).all()
    for row, found in zip(scores, weights, strict=True):
        distance = np.linalg.norm(row - found)
        for _ in range(200):
            assert distance <= np.linalg.norm(row - random.dirichlet(np.ones(30)))
        shifted = row[found > 0] - found[found > 0]
        assert np.allclose(shifted, shifted[0])  # one threshold for all that is used
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert (softmax > 0).all()  # the control: dense


def test_points_of_the_simplex_stay() -> None:
    points = np.array([[1.0, 0, 0], [0.2, 0.3, 0.5]])
    assert np.allclose(focus.sparsemax(points), points)


def test_anchors_are_old_tokens_that_the_text_has() -> None:
    request = material.request("focus")
    mixtures = focus.weigh(request).input
    used = {id_ for mixture in mixtures.values() for id_ in mixture}
    assert request.new is not None
    seen = {
        id_ for text in request.target_texts() for id_ in request.new.encode(text).ids
    }
    assert used and used <= seen - request.new_ids
    assert used <= set(texts_of(material.bases.byte_level()))


def test_without_anchors_nothing_is_said() -> None:
    request = material.request("focus", target_texts=lambda: ["қабар жол"] * 50)
    assert focus.weigh(request).input == {}


def test_given_vectors_are_used(tmp_path: Path) -> None:
    """Two words with one vector: the new token is the copy of the old one's row."""
    request = material.request("focus")
    named = texts_of(material.extension().backend)
    token = next(
        t for t in request.tokens if (t.text or "").startswith(" ") and len(t.text) > 4
    )
    word = token.text.strip()
    anchor, text = next(
        (i, t.strip())
        for i, t in sorted(named.items())
        if i not in request.new_ids and t.startswith(" ") and len(t) > 4
    )
    path = tmp_path / "vectors.txt"
    path.write_text(f"3 3\n{word} 1 0 0\n{text} 1 0 0\nother 0 1 0\n")
    given = material.request("focus", target_vectors=path)
    mixture = focus.weigh(given).input[token.id]
    assert mixture[anchor] == max(mixture.values())
    assert sum(mixture.values()) == pytest.approx(1.0)
