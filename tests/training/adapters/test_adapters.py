from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training import tiny
from training import adapters, families, merging
from training.adapters import Additions
from training.errors import SpecInvalid
from training.optimisation import make_optimizer

STAGE = "continue_pretraining"
ROWS = 310
IDS = [[3, 5, 301, 40, 305, 7], [9, 9, 300, 12]]
METHODS = [m for m in adapters.LOW_RANK if m != "qlora"]
HAS_BITSANDBYTES = importlib.util.find_spec("bitsandbytes") is not None


def _train(model, steps: int = 4) -> None:
    """A few real steps, so that nothing is merged that is zero."""
    model.train()
    optimizer = make_optimizer(model, learning_rate=1e-2, weight_decay=0.1)
    for step in range(steps):
        ids = torch.tensor([IDS[0]])
        model(input_ids=ids, labels=(ids + step) % ROWS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _attached(method: str, model=None, start: Path | None = None, **values):
    additions = Additions(
        **{"method": method, "rank": 4, "alpha": 8, "rows": (300, 301), **values}
    )
    model = model or tiny.model(ROWS, tied=values.pop("tied", True))
    torch.manual_seed(3)
    return adapters.attach(model, additions, stage=STAGE, start=start)


def _saved(model, folder: Path):
    model.save_pretrained(folder)
    return families.load_model(folder)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_merged_saved_and_reloaded_is_the_trained_model(
    tmp_path: Path, method: str, tied: bool
) -> None:
    """P14: logits, tie and number of rows are the same before and after."""
    model = _attached(method, tiny.model(ROWS, tied=tied))
    fresh = merging.measure(model, IDS)
    _train(model)
    trained = merging.measure(model, IDS)
    assert merging.largest_difference(fresh.logits, trained.logits) > 1e-2
    merged = adapters.merge(model)
    again = merging.measure(_saved(merged, tmp_path), IDS)
    assert merging.largest_difference(trained.logits, again.logits) < 1e-5
    assert (again.tied, again.input_rows, again.output_rows) == (tied, ROWS, ROWS)


@pytest.mark.parametrize(
    "family",
    [
        "gpt2",
        *(
            pytest.param(family, marks=pytest.mark.slow)
            for family in ("gpt_neox", "gemma2", "qwen2")
        ),
    ],
)
@pytest.mark.parametrize("method", ["dora", "pissa", "olora", "loftq"])
def test_every_variant_fits_every_family(family: str, method: str) -> None:
    """GPT-2 keeps its weights transposed; a decomposition must know."""
    model = tiny.model(ROWS, family=family)
    before = merging.measure(model, IDS)
    model = _attached(method, model)
    begun = merging.measure(model, IDS)
    if method != "loftq":
        assert merging.largest_difference(before.logits, begun.logits) < 1e-4
    _train(model)
    trained = merging.measure(model, IDS)
    merged = merging.measure(adapters.merge(model), IDS)
    assert merging.largest_difference(trained.logits, merged.logits) < 1e-4


@pytest.mark.parametrize("tied", [True, False])
def test_whole_embeddings_stay_tied_or_not(tmp_path: Path, tied: bool) -> None:
    """Trap 12: both matrices learn, are merged, and are one where they were one."""
    base = tiny.model(ROWS, tied=tied)
    before = base.get_output_embeddings().weight.detach().clone()
    model = _attached("lora", base, embeddings="all")
    _train(model)
    trained = merging.measure(model, IDS)
    merged = adapters.merge(model)
    assert not torch.equal(merged.get_output_embeddings().weight, before)
    again = merging.measure(_saved(merged, tmp_path), IDS)
    assert merging.largest_difference(trained.logits, again.logits) < 1e-5
    assert again.tied is tied


def test_the_naive_way_of_naming_embeddings_unties(tmp_path: Path) -> None:
    """The test above can fail: without the tie demanded there are two matrices."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]
    )
    model = get_peft_model(tiny.model(ROWS, tied=True), config)
    _train(model)
    assert not merging.is_tied(model.merge_and_unload())


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_learn_on_both_sides_and_old_rows_do_not(tied: bool) -> None:
    """Trap 13: a list of rows would leave the output matrix of an untied model alone."""
    base = tiny.model(ROWS, tied=tied)
    before = [
        m.weight.detach().clone()
        for m in (base.get_input_embeddings(), base.get_output_embeddings())
    ]
    model = _attached("lora", base)
    _train(model)
    merged = adapters.merge(model)
    after = [
        merged.get_input_embeddings().weight,
        merged.get_output_embeddings().weight,
    ]
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[:300], other[:300])
        assert torch.equal(one[302:], other[302:])
        assert not torch.equal(one[301], other[301])


@pytest.mark.parametrize("method", ["lora", "dora", "rslora", "pissa", "olora"])
def test_a_saved_adapter_belongs_to_the_given_base(tmp_path: Path, method: str) -> None:
    from peft import PeftModel

    model = _attached(method)
    _train(model)
    trained = merging.measure(model, IDS)
    adapters.save_adapter(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    again = PeftModel.from_pretrained(tiny.model(ROWS), str(tmp_path))
    found = merging.measure(again, IDS)
    assert merging.largest_difference(trained.logits, found.logits) < 1e-4


def test_a_decomposed_adapter_saved_as_it_is_would_be_wrong(tmp_path: Path) -> None:
    """The test above can fail: peft's own file holds a part of the base twice."""
    from peft import PeftModel

    model = _attached("pissa")
    _train(model)
    trained = merging.measure(model, IDS)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny.model(ROWS), str(tmp_path))
    found = merging.measure(again, IDS)
    assert merging.largest_difference(trained.logits, found.logits) > 1e-2


@pytest.mark.parametrize("method", adapters.ROUNDED_BASE)
def test_an_adapter_of_a_rounded_base_is_not_saved(tmp_path: Path, method: str) -> None:
    model = _attached("loftq")
    model.additions = Additions(method=method)
    with pytest.raises(ValueError, match="no adapter of the given base"):
        adapters.save_adapter(model, tmp_path)


def test_pissa_starts_with_the_largest_part(tmp_path: Path) -> None:
    """What is left in the base is smaller than what any other rank-4 part leaves."""
    base = tiny.model(ROWS)
    weight = base.model.layers[0].mlp.up_proj.weight.detach().clone()
    model = _attached("pissa", base)
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    left = torch.linalg.svdvals(layer.base_layer.weight)
    assert left[0] == pytest.approx(torch.linalg.svdvals(weight)[4].item(), rel=1e-4)


def test_loftq_is_nearer_to_the_base_than_rounding(tmp_path: Path) -> None:
    base = tiny.model(ROWS)
    name = "model.layers.0.mlp.up_proj.weight"
    weight = base.get_parameter(name).detach().clone()
    merged = adapters.merge(_attached("loftq", base, rank=8, alpha=8))
    rounded = adapters.round_to_nf4(weight)
    assert (merged.get_parameter(name) - weight).norm() < (rounded - weight).norm()


def test_a_stored_start_is_read_back(tmp_path: Path) -> None:
    """A decomposition that rounds otherwise elsewhere changes nothing on resuming."""
    path = tmp_path / "start.safetensors"
    first = _attached("pissa", start=path).state_dict()
    again = _attached("pissa", start=path).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    stored = load_file(path)
    name = next(iter(sorted(n for n in stored if n.endswith(".a"))))
    stored[name] += 1
    save_file(stored, path)
    other = _attached("pissa", start=path).state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"modules": "attention"}, 2 * 4),
        ({"modules": "feed_forward"}, 2 * 3),
        ({"first_layers": 1.0}, 7),
        ({"last_layers": 0.5, "modules": "feed_forward"}, 3),
        ({}, 2 * 7),
    ],
)
def test_modules_and_layers_are_chosen(choice: dict, expected: int) -> None:
    model = _attached("lora", **choice)
    names = [name for name, _ in adapters.layers_of(model)]
    assert len(names) == expected
    if "last_layers" in choice:
        assert all("layers.1.mlp" in name for name in names)


def test_more_rank_than_the_weights_have_still_learns() -> None:
    for method in ("pissa", "olora", "loftq"):
        base = tiny.model(ROWS)
        before = merging.measure(base, IDS)
        model = _attached(method, base, rank=80, alpha=80)
        begun = merging.measure(model, IDS)
        assert merging.largest_difference(before.logits, begun.logits) < 1e-4
        _train(model)
        trained = merging.measure(model, IDS)
        merged = merging.measure(adapters.merge(model), IDS)
        assert merging.largest_difference(trained.logits, merged.logits) < 1e-4


def test_refusals_name_the_setting() -> None:
    with pytest.raises(SpecInvalid, match=f"{STAGE}.method"):
        _attached("full")
    if not HAS_BITSANDBYTES:
        with pytest.raises(SpecInvalid, match="qlora needs the library bitsandbytes"):
            _attached("qlora")


@pytest.mark.skipif(not HAS_BITSANDBYTES, reason="bitsandbytes is not installed")
def test_qlora_merges_into_what_it_was_trained_on(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base", extra_rows=10)
    additions = Additions(method="qlora", rank=4, alpha=8, rows=(300, 301))
    model = families.load_model(base, quantization=adapters.quantization(additions))
    model = adapters.attach(model, additions, stage=STAGE)
    _train(model)
    trained = merging.measure(model, IDS)
    again = _saved(adapters.merge(model), tmp_path / "merged")
    found = merging.measure(again, IDS)
    assert merging.largest_difference(trained.logits, found.logits) < 1e-4
    assert again.config.tie_word_embeddings


@pytest.mark.parametrize("family", tiny.EXPERTS)
@pytest.mark.parametrize("choice", [{}, {"modules": "feed_forward", "last_layers": 1}])
def test_experts_of_a_mixture_get_additions(
    tmp_path: Path, family: str, choice: dict
) -> None:
    """All experts are one weight of three dimensions; merged, saved, reloaded."""
    from peft import PeftModel

    base = tiny.model(ROWS, family=family, tied=False)
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    model = _attached("rslora", base, **choice)
    experts = [name for name, _ in adapters.layers_of(model) if "experts" in name]
    assert len(experts) == (2 if choice else 4)
    _train(model)
    trained = merging.measure(model, IDS)
    adapters.save_adapter(model, tmp_path / "adapter")
    fresh = tiny.model(ROWS, family=family, tied=False)
    again = PeftModel.from_pretrained(fresh, str(tmp_path / "adapter"))
    found = merging.measure(again, IDS)
    assert merging.largest_difference(trained.logits, found.logits) < 1e-5
    plain = _saved(adapters.merge(model), tmp_path / "model")
    found = merging.measure(plain, IDS)
    assert merging.largest_difference(trained.logits, found.logits) < 1e-5
    moved = {n for n, p in plain.named_parameters() if not torch.equal(p, before[n])}
    assert any("layers.1.mlp.experts.down_proj" in name for name in moved)
    assert any("layers.0.mlp.experts" in name for name in moved) is not bool(choice)


def test_dora_cannot_be_made_to_experts() -> None:
    model = tiny.model(ROWS, family="mixtral")
    with pytest.raises(SpecInvalid, match=f"{STAGE}.method"):
        _attached("dora", model)
    _attached("dora", tiny.model(ROWS, family="mixtral"), modules="attention")


def test_dropout_leaves_experts_out() -> None:
    """peft refuses it on them; all other layers have it, and only while training."""
    model = _attached("lora", tiny.model(ROWS, family="mixtral"), dropout=0.5)
    for name, layer in adapters.layers_of(model):
        rate = getattr(layer.lora_dropout[adapters.ADAPTER], "p", 0.0)
        assert rate == (0.0 if "experts" in name else 0.5)
    _train(model)
    ids = torch.tensor(IDS[:1])
    one, other = (model(input_ids=ids).logits for _ in range(2))
    assert not torch.equal(one, other)
    trained = merging.measure(model, IDS)
    merged = merging.measure(adapters.merge(model), IDS)
    assert merging.largest_difference(trained.logits, merged.logits) < 1e-5


@pytest.mark.skipif(not HAS_BITSANDBYTES, reason="bitsandbytes is not installed")
def test_qlora_of_a_mixture_with_its_embeddings(tmp_path: Path) -> None:
    """Chinese-Mixtral: linear layers in 4 bits; experts are not, but learn."""
    base = tiny.base(tmp_path / "base", family="mixtral", tied=False, extra_rows=10)
    additions = Additions(method="qlora", rank=4, alpha=8, embeddings="all")
    model = families.load_model(base, quantization=adapters.quantization(additions))
    model = adapters.attach(model, additions, stage=STAGE)
    _train(model)
    trained = merging.measure(model, IDS)
    again = _saved(adapters.merge(model), tmp_path / "merged")
    found = merging.measure(again, IDS)
    assert merging.largest_difference(trained.logits, found.logits) < 1e-4
