"""The rotation between two languages and what it is learned from."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.embeddings import material
from training.embeddings import wechsel
from training.embeddings.lexicon import word_pairs
from training.embeddings.spaces import nearest, normalised
from training.embeddings.vectors import Vectors
from training.errors import MaterialMissing


def test_procrustes_finds_a_rotation() -> None:
    random = np.random.default_rng(1)
    turn = np.linalg.qr(random.normal(size=(40, 40)))[0]
    one = random.normal(size=(200, 40))
    found = wechsel.procrustes(one, one @ turn)
    assert np.abs(found - turn).max() < 1e-4
    assert np.allclose(found @ found.T, np.eye(40))
    # The control: pairs in another order give another rotation.
    shuffled = wechsel.procrustes(one, random.permutation(one @ turn))
    assert np.abs(shuffled - turn).max() > 0.1


def test_noise_does_not_hide_the_rotation() -> None:
    random = np.random.default_rng(2)
    turn = np.linalg.qr(random.normal(size=(10, 10)))[0]
    one = random.normal(size=(300, 10))
    other = one @ turn + 0.1 * random.normal(size=(300, 10))
    assert np.abs(wechsel.procrustes(one, other) - turn).max() < 0.05


def test_words_meet_their_translations() -> None:
    """Vectors of one language are a rotation of the other's; words of half of the pairs
    teach it, the other half must find their own translations."""
    random = np.random.default_rng(3)
    lexicon = material.lexicon()
    space = random.normal(size=(len(lexicon), 12)).astype(np.float32)
    turn = np.linalg.qr(random.normal(size=(12, 12)))[0].astype(np.float32)
    base = Vectors({a: i for i, (a, _) in enumerate(lexicon)}, space)
    target = Vectors({b: i for i, (_, b) in enumerate(lexicon)}, space @ turn)
    known = material.request("wechsel", dictionary=lambda: lexicon[:30])
    turned = wechsel.rotated(known, target, base)
    found = nearest(turned.matrix[30:], base.matrix, range(len(lexicon)))
    assert [max(m, key=m.get) for m in found] == list(range(30, len(lexicon)))
    apart = nearest(target.matrix[30:], base.matrix, range(len(lexicon)))
    hits = sum(max(m, key=m.get) == at for at, m in enumerate(apart, 30))
    assert hits < 10  # the control: without the rotation


def test_weights_are_a_softmax_of_ten() -> None:
    random = np.random.default_rng(4)
    targets, sources = random.normal(size=(5, 8)), random.normal(size=(30, 8))
    found = nearest(targets, sources, range(30))
    cosines = normalised(targets) @ normalised(sources).T
    for row, mixture in zip(cosines, found, strict=True):
        best = np.argsort(-row)[:10]
        expected = np.exp(row[best] / 0.1) / np.exp(row[best] / 0.1).sum()
        assert list(mixture) == list(best)
        assert np.allclose(list(mixture.values()), expected)


def test_parallel_text_gives_the_pairs_where_there_is_no_dictionary() -> None:
    request = material.request("wechsel", dictionary=tuple)
    pairs = word_pairs(request)
    assert len(pairs) > 50
    assert len(set(pairs) & set(material.lexicon())) > 0.95 * len(pairs)


def test_too_few_known_words_are_refused() -> None:
    request = material.request("wechsel", dictionary=lambda: material.lexicon()[:20])
    with pytest.raises(MaterialMissing, match="Only 20 words") as refused:
        wechsel.weigh(request)
    assert "dictionary" in refused.value.hint
