"""Every registered method: names agree, old rows keep every bit, new rows are sane."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training import tiny
from tests.training.embeddings import material
from training.embeddings import METHODS, Request, initialise
from training.settings.initialisations import INITIALISATIONS

# Those that give every token the same row: what "rows differ" can fail on.
SAME = {"global_mean"}


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.donor(tmp_path_factory.mktemp("donor"))


def test_the_setting_offers_exactly_what_is_registered() -> None:
    assert set(METHODS) == set(INITIALISATIONS)
    for method in METHODS.values():
        assert (method.weigh is None) != (method.rows is None)
        assert method.source


@pytest.mark.parametrize("extra", [0, 200])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_old_rows_keep_every_bit_and_new_ones_are_sane(
    name: str, tied: bool, extra: int, donor: Path
) -> None:
    model = material.model(tied=tied, extra=extra)
    existing = model.config.vocab_size
    before = [
        matrix.weight.detach().clone()
        for matrix in (model.get_input_embeddings(), model.get_output_embeddings())
    ]
    request = material.request(name, donor=donor)
    ids = torch.randint(0, existing - extra, (2, 12))
    logits = model(ids).logits[..., : existing - extra]
    figures = initialise(model, request)
    new = sorted(request.new_ids)
    assert figures["tokens"] == len(new) > 50
    assert figures["covered"] > len(new) / 2
    assert model.get_input_embeddings().weight.shape[0] >= max(new) + 1
    after = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    for old, matrix in zip(before, after, strict=True):
        untouched = [row for row in range(existing) if row not in request.new_ids]
        assert torch.equal(matrix[untouched], old[untouched])
        assert matrix.isfinite().all()
        scale = matrix[new].norm(dim=1).median() / old[untouched].norm(dim=1).median()
        assert 0.03 < scale < 3
        different = torch.unique(matrix[new], dim=0).shape[0]
        # Few for the first pieces: the Latin base cuts Cyrillic into bytes.
        assert (different == 1) if name in SAME else (different > 2)
    assert (after[0].data_ptr() == after[1].data_ptr()) is tied
    assert torch.allclose(model(ids).logits[..., : existing - extra], logits, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sentencepiece", "unigram"])
@pytest.mark.parametrize("name", METHODS)
def test_sentencepiece_bases_and_half_precision(
    name: str, kind: str, donor: Path
) -> None:
    model = material.model(kind).to(torch.bfloat16)
    old = model.get_input_embeddings().weight.detach().clone()
    request = material.request(name, kind, donor=donor)
    figures = initialise(model, request)
    assert figures["covered"] > 0.2 * figures["tokens"]
    matrix = model.get_input_embeddings().weight
    assert matrix.dtype == torch.bfloat16 and matrix.isfinite().all()
    assert torch.equal(matrix[: len(old)], old)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_replaced_vocabulary(name: str, donor: Path) -> None:
    """Another tokenizer: some ids carried over under new numbers, all others made."""
    texts = [text for pair in material.pairs() for text in pair]
    new = tiny.tokenizer(texts, size=420).backend_tokenizer
    old = material.bases.byte_level()
    shared = {
        id_: old.token_to_id(piece)
        for piece, id_ in new.get_vocab().items()
        if old.token_to_id(piece) is not None
    }
    kept = {id_: to for id_, to in shared.items() if id_ % 5 or id_ < 270}
    model = material.model(tied=False)
    before = model.get_input_embeddings().weight.detach().clone()
    request = material.request(name, **material.replaced(new, kept), donor=donor)
    figures = initialise(model, request)
    matrix = model.get_input_embeddings().weight
    assert figures["tokens"] == new.get_vocab_size() - len(kept)
    assert torch.equal(matrix[list(kept)], before[list(kept.values())])
    assert matrix.isfinite().all() and len(matrix) == 448
    copies = {id_: to for id_, to in shared.items() if id_ not in kept}
    assert copies
    if name in {"focus", "ofa", "dictionary", "trans_tokenization", "omp", "mean"}:
        # The same text in both vocabularies: a copy, bit for bit.
        for id_, to in copies.items():
            assert torch.equal(matrix[id_], before[to])
    if name == "random":  # the control
        assert not any(torch.equal(matrix[i], before[to]) for i, to in copies.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["random", "focus", "wechsel", "ofa", "trans_tokenization", "omp", "factorised"],
)
def test_the_same_seed_gives_the_same_rows(name: str, donor: Path) -> None:
    made = []
    for _ in range(2):
        torch.rand(3)
        model = material.model()
        initialise(model, material.request(name, donor=donor))
        made.append(model.get_input_embeddings().weight.detach())
    assert torch.equal(made[0], made[1])


@pytest.mark.parametrize(
    "name", ["mean", "position_weighted", "merge_tree", "focus", "wechsel", "align"]
)
def test_weights_are_a_convex_combination_of_old_rows(name: str) -> None:
    request = material.request(name)
    weigh = METHODS[name].weigh
    assert weigh is not None
    mixtures = weigh(request)
    highest = max(material.bases.byte_level().get_vocab().values())
    for side in (mixtures.input, mixtures.output):
        for mixture in side.values():
            assert min(mixture.values()) >= 0
            assert sum(mixture.values()) == pytest.approx(1, abs=1e-9)
            assert max(mixture) <= highest


@pytest.mark.parametrize("name", METHODS)
def test_without_new_tokens_no_method_is_asked(name: str) -> None:
    """A pruned vocabulary: no donor, no text, no tokenizer is looked for."""
    model = tiny.model(300)
    old = model.get_input_embeddings().weight.detach().clone()
    kept = {new: new + 100 for new in range(64)}
    initialise(model, Request([], method=name, kept=kept))
    assert torch.equal(model.get_input_embeddings().weight, old[100:164])
