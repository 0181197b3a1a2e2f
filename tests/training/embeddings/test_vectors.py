"""Counted vectors know which words are used alike; given ones are read."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from training.embeddings import vectors
from training.embeddings.spaces import by_containing_words, by_ngrams, normalised
from training.errors import InputMissing


def grammar(count: int, seed: int) -> list[list[str]]:
    """Words of 5 classes in a fixed order of classes: used alike within a class."""
    order = random.Random(seed)
    return [[f"{kind}{order.randrange(8)}" for kind in "abcde"] for _ in range(count)]


def same_class_nearest(space: vectors.Vectors) -> float:
    names = [str(word) for word in space.index]
    rows = normalised(space.matrix[[space.index[name] for name in names]])
    cosines = rows @ rows.T - 2 * np.eye(len(names))
    best = cosines.argmax(axis=1)
    return float(
        np.mean([names[at][0] == name[0] for at, name in zip(best, names, strict=True)])
    )


def test_words_used_alike_are_near() -> None:
    sentences = grammar(800, 1)
    space = vectors.train(lambda: sentences, seed=1, dimensions=8)
    assert same_class_nearest(space) > 0.95
    mixed = [random.Random(n).sample(row, 5) for n, row in enumerate(sentences)]
    letters = random.Random(1)
    without = [[letters.choice(sum(mixed[:80], [])) for _ in range(5)] for _ in mixed]
    control = vectors.train(lambda: without, seed=1, dimensions=8)
    assert same_class_nearest(control) < 0.6


def test_rare_words_have_no_vector_and_little_text_does_not_fail() -> None:
    space = vectors.train(lambda: [["a", "b"]] * 9 + [["rare", "a"]], seed=1)
    assert space.get("rare") is None and set(space.index) == {"a", "b"}
    assert vectors.train(lambda: [], seed=1).index == {}


def test_the_truncated_svd_is_the_svd() -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(60, 8, generator=generator) @ torch.randn(
        8, 60, generator=generator
    )
    left, strength = vectors.truncated_svd(matrix.to_sparse(), 8, 1)
    expected = torch.linalg.svdvals(matrix)[:8]
    assert torch.allclose(strength, expected, rtol=1e-4)
    rebuilt = left @ (left.T @ matrix)
    assert torch.allclose(rebuilt, matrix, atol=1e-3)


def test_a_file_of_vectors(tmp_path: Path) -> None:
    path = tmp_path / "given.vec"
    path.write_text("2 3\nMoja 1 2 3\nmbili 4 5 6\nmoja 7 8 9\n")
    given = vectors.read(path)
    assert given.index == {"moja": 0, "mbili": 1}
    assert given.get("moja").tolist() == [1, 2, 3]
    path.write_text("moja 1 2 3\nmbili 4 5\n")
    with pytest.raises(InputMissing, match="Line 2 of given.vec"):
        vectors.read(path)
    path.write_text("")
    with pytest.raises(InputMissing, match="holds no vectors"):
        vectors.read(path)


def test_tokens_get_vectors_of_words_parts_and_containing_words() -> None:
    matrix = np.eye(3, dtype=np.float32)
    space = vectors.Vectors({"kitabu": 0, "vitabu": 1, "moja": 2}, matrix)
    texts = {1: " kitabu", 2: "tabu", 3: " kit", 4: "zzz", 5: " tabu"}
    ids, rows = by_ngrams(space, texts)
    got = dict(zip(ids, rows, strict=True))
    assert got[1].tolist() == [1, 0, 0]
    assert got[2][:2].tolist() == pytest.approx([0.5, 0.5]) and 4 not in got
    assert got[3][0] > got[3][1]
    ids, rows = by_containing_words(space, texts)
    got = dict(zip(ids, rows, strict=True))
    assert got[2].tolist() == [0.5, 0.5, 0]
    assert got[3].tolist() == [1, 0, 0]
    assert 5 not in got and 4 not in got  # no word begins with "tabu"
