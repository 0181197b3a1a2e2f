"""What may be adapted, and what is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers.models.auto import tokenization_auto

from tests.training import tiny
from training import families
from training.errors import BaseUnsuitable

pytestmark = pytest.mark.slow  # needs torch


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_lora_targets_are_all_linear_layers_but_the_head(
    family: str, tied: bool
) -> None:
    from peft import LoraConfig, get_peft_model

    model = tiny.model(300, family=family, tied=tied)
    matrices = {
        name.removesuffix(".weight")
        for name, values in model.named_parameters()
        if values.ndim == 2
        and values.shape[0] not in (300, 256)
        # The router of a mixture stays as it is.
        and not name.endswith("mlp.gate.weight")
    }
    targets = families.lora_targets(model)
    config = LoraConfig(target_modules=targets, r=2, fan_in_fan_out=family == "gpt2")
    tuned = get_peft_model(model, config)
    found = {
        name.removeprefix("base_model.model.")
        for name, layer in tuned.named_modules()
        if hasattr(layer, "lora_A")
    }
    assert found == matrices and found


def test_other_families_are_refused() -> None:
    with pytest.raises(BaseUnsuitable, match="“bert”"):
        families.check_family({"model_type": "bert"})
    with pytest.raises(BaseUnsuitable, match="quantized"):
        families.check_family(
            {"model_type": "llama", "quantization_config": {"bits": 4}}
        )
    families.check_family(tiny.model(300).config)


def test_pickled_weights_and_lacking_weights_are_refused(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    config["num_hidden_layers"] = 3
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(BaseUnsuitable, match="missing or of another shape"):
        families.load_model(base)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(BaseUnsuitable, match="no weights in the safetensors format"):
        families.load_model(base)
    with pytest.raises(BaseUnsuitable, match="no readable config.json"):
        families.load_model(tmp_path)


def test_code_in_a_folder_is_not_run(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base")
    proof = tmp_path / "ran"
    (base / "own.py").write_text(f"open({str(proof)!r}, 'w')\n")
    for name in ("config.json", "tokenizer_config.json"):
        values = json.loads((base / name).read_text())
        values["auto_map"] = {
            "AutoConfig": "own.A",
            "AutoModelForCausalLM": "own.B",
            "AutoTokenizer": ["own.C", "own.D"],
        }
        (base / name).write_text(json.dumps(values))
    model = families.load_model(base)
    families.load_tokenizer(base)
    assert not proof.exists() and not hasattr(model.config, "auto_map")


def test_the_file_decides_how_text_is_cut(tmp_path: Path) -> None:
    """The class a folder names would put another pattern in the file's place."""
    base = tiny.base(tmp_path / "base")
    path = base / "tokenizer_config.json"
    values = json.loads(path.read_text())
    values["tokenizer_class"] = "Qwen2Tokenizer"
    path.write_text(json.dumps(values))
    text = "ba1234ko's  12"
    written = tiny.tokenizer(tiny.documents(80, script="latin"))
    auto = tokenization_auto.AutoTokenizer.from_pretrained(base)
    assert auto.backend_tokenizer.normalizer is not None
    loaded = families.load_tokenizer(base)
    assert loaded.backend_tokenizer.normalizer is None
    assert loaded(text)["input_ids"] == written(text)["input_ids"]
    assert (loaded.eos_token_id, loaded.pad_token_id) == (0, 1)


def test_the_families_with_a_fixed_pattern_are_the_librarys() -> None:
    known = tokenization_auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
    assert families.FIXED_PATTERN == set(families.FAMILIES) & known


def test_padding_is_never_the_end_of_text() -> None:
    words, model = tiny.tokenizer(tiny.documents(20)), tiny.model(320)
    assert families.pad_token(words, model) == 1
    words.pad_token = words.eos_token
    assert families.pad_token(words, model) == 1 and len(words) == 320
    assert words.pad_token == "<|pad|>" and model.config.pad_token_id == 1
    assert model.generation_config.pad_token_id == 1


def test_a_second_end_token_is_no_padding_either() -> None:
    words, model = tiny.tokenizer(tiny.documents(20)), tiny.model(320)
    model.generation_config.eos_token_id = [0, 1]
    assert families.pad_token(words, model) not in (0, 1)


def test_padding_is_added_where_no_token_can_be_it() -> None:
    made = json.loads(tiny.tokenizer(tiny.documents(20)).backend_tokenizer.to_str())
    made["added_tokens"] = made["added_tokens"][:1]
    made["model"]["vocab"] = {
        ("~pad" if piece == "<|pad|>" else piece): id_
        for piece, id_ in made["model"]["vocab"].items()
    }
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(made)),
        eos_token="<|endoftext|>",
    )
    model = tiny.model(320)
    before = model.get_input_embeddings().weight.detach().clone()
    assert families.pad_token(words, model) == 320
    rows = model.get_input_embeddings().weight
    assert rows.shape[0] == 321 and torch.equal(rows[:320], before)


def test_end_of_text() -> None:
    words = tiny.tokenizer(tiny.documents(20))
    assert families.end_of_text_id(words) == 0
    words.eos_token = None
    model = tiny.model(320)
    model.config.eos_token_id = [3, 2]
    assert families.end_of_text_id(words, model.config) == 3
    assert families.end_of_text_id(words) == 0
