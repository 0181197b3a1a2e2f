"""Merging: what was trained is in the weights that are read back, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training import tiny
from training import families, merging, templates
from training.adapters import Additions, attach
from training.errors import ReloadDiffers
from training.spec import TuneInstructions

SETTINGS = TuneInstructions(lora_rank=4, lora_alpha=8, lora_dropout=0.0)
TEXTS = tiny.documents(4, script="latin", seed=5)
TARGETS = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
}
LLAMA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"]
FAMILIES = [
    "llama",
    "gpt2",
    *(
        pytest.param(family, marks=pytest.mark.slow)
        for family in ("mistral", "qwen2", "gemma", "gpt_neox")
    ),
]


def saved_base(folder: Path, *, family: str = "llama", tied: bool = True, dtype=None):
    """A base with template, markers and agreeing ids, as the tuning stage saves it."""
    words = tiny.tokenizer(tiny.documents(60, script="latin"))
    model = tiny.model(len(words), family=family, tied=tied)
    form = templates.set_up(words)
    templates.agree_on_special_ids(model, words, form)
    if dtype is not None:
        model.to(dtype)
    merging.save_model(model, words, folder / "base")
    return AutoModelForCausalLM.from_pretrained(folder / "base"), words, form


def train_a_little(tuned, form, steps: int = 4) -> None:
    """Some steps that change every trainable weight, marker rows included."""
    weights = [p for p in tuned.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    ids = torch.tensor([[5, 9, *form.markers, 12, *form.markers, 40, 41]])
    for _ in range(steps):
        tuned(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def saved_adapter(folder: Path, model, form, family: str = "llama"):
    additions = Additions.of(SETTINGS, form.markers)
    tuned = attach(model, additions, stage="tune_instructions")
    train_a_little(tuned, form)
    tuned.save_pretrained(folder / "adapter")
    return tuned.eval()


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_p14_merge_save_reload(tmp_path: Path, family: str, tied: bool):
    model, words, form = saved_base(tmp_path, family=family, tied=tied)
    rows = model.get_input_embeddings().weight.detach().clone()
    head = model.get_output_embeddings().weight.detach().clone()
    tuned = saved_adapter(tmp_path, model, form, family)
    ids = merging.encode(words, TEXTS)
    expected = merging.measure(tuned, ids)
    figures = merging.merge_adapter(
        base=tmp_path / "base",
        adapter=tmp_path / "adapter",
        into=tmp_path / "model",
        held_out=TEXTS,
    )
    assert figures["largest_logit_difference"] < 1e-5
    assert figures["reload_difference"] < 1e-5
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    again = merging.measure(loaded, ids)
    assert merging.largest_difference(expected.logits, again.logits) < 1e-5
    assert again.tied is tied and loaded.config.tie_word_embeddings is tied
    after, after_head = (
        loaded.get_input_embeddings().weight,
        loaded.get_output_embeddings().weight,
    )
    assert after.shape == rows.shape and after_head.shape == head.shape
    # The marker rows were learned, in both matrices, and no other row was touched.
    markers = list(form.markers)
    others = [row for row in range(len(rows)) if row not in markers]
    for old, new in ((rows, after), (head, after_head)):
        assert ((old[markers] - new[markers]).abs().amax(1) > 1e-3).all()
        assert torch.equal(old[others], new[others])


@pytest.mark.trap(13)
def test_trap_13_control_a_list_of_rows_leaves_an_untied_head_untrained(tmp_path: Path):
    model, _, form = saved_base(tmp_path, tied=False)
    head = model.get_output_embeddings().weight.detach().clone()
    config = LoraConfig(
        target_modules=LLAMA_TARGETS, trainable_token_indices=list(form.markers)
    )
    tuned = get_peft_model(model, config)
    train_a_little(tuned, form)
    merged = tuned.merge_and_unload()
    assert torch.equal(merged.get_output_embeddings().weight, head)


@pytest.mark.trap(12)
@pytest.mark.filterwarnings("ignore")
def test_trap_12_a_merge_that_unties_is_refused(tmp_path: Path):
    """`modules_to_save` copies one of two tied matrices; the control is P14 above."""
    model, _, form = saved_base(tmp_path, tied=True)
    config = LoraConfig(
        target_modules=LLAMA_TARGETS,
        modules_to_save=["embed_tokens", "lm_head"],
        ensure_weight_tying=False,
    )
    tuned = get_peft_model(model, config)
    train_a_little(tuned, form)
    tuned.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ReloadDiffers):
        merging.merge_adapter(
            base=tmp_path / "base",
            adapter=tmp_path / "adapter",
            into=tmp_path / "model",
            held_out=TEXTS,
        )


@pytest.fixture
def merged(tmp_path: Path):
    """A merged folder with what is expected of it."""
    model, words, form = saved_base(tmp_path, tied=False)
    saved_adapter(tmp_path, model, form)
    merging.merge_adapter(
        base=tmp_path / "base", adapter=tmp_path / "adapter", into=tmp_path / "model"
    )
    folder = tmp_path / "model"
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    expected = merging.measure(loaded, merging.encode(words, TEXTS))
    return folder, AutoTokenizer.from_pretrained(folder), expected


def test_a_sound_folder_is_accepted(merged):
    folder, words, expected = merged
    assert merging.verify_folder(folder, words, TEXTS, expected) < 1e-5


@pytest.mark.slow
@pytest.mark.trap(21)
def test_a_lost_head_is_refused(merged):
    folder, words, expected = merged
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] += 0.01
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ReloadDiffers, match="largest difference is 0"):
        merging.verify_folder(folder, words, TEXTS, expected)


def test_with_a_large_vocabulary_the_last_tokens_are_compared(merged, monkeypatch):
    folder, words, _ = merged
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = merging.encode(words, TEXTS)
    whole = merging.measure(model, ids)
    rows = whole.input_rows
    monkeypatch.setattr(merging, "LOGITS_COMPARED", 3 * rows * len(ids))
    last = merging.measure(model, ids)
    for all_tokens, some in zip(whole.logits, last.logits, strict=True):
        assert len(all_tokens) > 3 and some.shape == (3, rows)
        # Not a part of the whole, which would stay with it.
        assert some.untyped_storage().nbytes() == 4 * 3 * rows
        assert torch.equal(all_tokens[-3:], some)
    assert merging.verify_folder(folder, words, TEXTS, last) == 0
    # What the first token is changes all that follow.
    weights = load_file(folder / "model.safetensors")
    name = next(n for n in weights if "embed_tokens" in n)
    for row in {text[0] for text in ids}:
        weights[name][row] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ReloadDiffers, match="logits"):
        merging.verify_folder(folder, words, TEXTS, last)


def test_a_stale_generation_config_is_refused(merged):
    folder, words, expected = merged
    path = folder / "generation_config.json"
    stale = json.loads(path.read_text()) | {"eos_token_id": 2, "bos_token_id": 1}
    path.write_text(json.dumps(stale))
    with pytest.raises(ReloadDiffers, match="eos is"):
        merging.verify_folder(folder, words, TEXTS, expected)


@pytest.mark.slow
@pytest.mark.trap(5)
def test_renumbered_special_tokens_are_refused(merged):
    folder, words, expected = merged
    path = folder / "tokenizer.json"
    plain = path.read_text()
    swapped = plain.replace("<|pad|>", "<|x|>").replace("<|im_end|>", "<|pad|>")
    path.write_text(swapped.replace("<|x|>", "<|im_end|>"))
    with pytest.raises(ReloadDiffers, match="pad_token_id"):
        merging.verify_folder(folder, words, TEXTS, expected)


@pytest.mark.slow
def test_a_lost_template_is_refused(merged):
    folder, words, expected = merged
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ReloadDiffers, match="chat_template"):
        merging.verify_folder(folder, words, TEXTS, expected)


@pytest.mark.slow
def test_another_tokenizer_is_refused(merged):
    folder, words, expected = merged
    other = tiny.tokenizer(tiny.documents(60, script="cyrillic"))
    other.chat_template = words.chat_template
    other.save_pretrained(folder)
    with pytest.raises(ReloadDiffers, match="splits"):
        merging.verify_folder(folder, words, TEXTS, expected)


@pytest.mark.slow
def test_a_merge_that_loses_what_was_learned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model, _, form = saved_base(tmp_path)
    saved_adapter(tmp_path, model, form)

    def lossy(model, adapter: Path, ids: list[list[int]]):
        tuned = PeftModel.from_pretrained(model, str(adapter))
        learned = merging.measure(tuned, ids)
        return tuned.unload(), learned  # taken off, and not added to the weights

    monkeypatch.setattr(merging, "_merged", lossy)
    with pytest.raises(ReloadDiffers, match="The merged model gives other logits"):
        merging.merge_adapter(
            base=tmp_path / "base", adapter=tmp_path / "adapter", into=tmp_path / "into"
        )
    assert not (tmp_path / "into").exists()


def test_a_bfloat16_base_stays_bfloat16(tmp_path: Path):
    model, words, form = saved_base(tmp_path, dtype=torch.bfloat16)
    saved_adapter(tmp_path, model.float(), form)
    figures = merging.merge_adapter(
        base=tmp_path / "base", adapter=tmp_path / "adapter", into=tmp_path / "model"
    )
    assert figures["dtype"] == "bfloat16"
    assert figures["largest_logit_difference"] < 1e-5
    assert 0 < figures["rounding_difference"] < 0.1
    assert figures["reload_difference"] < 1e-5


@pytest.mark.slow
def test_without_an_adapter_the_model_is_saved_and_checked(tmp_path: Path):
    saved_base(tmp_path)
    figures = merging.merge_adapter(
        base=tmp_path / "base", adapter=None, into=tmp_path / "model", held_out=TEXTS
    )
    assert figures["largest_logit_difference"] == 0 and not figures["adapter"]
    one = load_file(tmp_path / "base" / "model.safetensors")
    other = load_file(tmp_path / "model" / "model.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_contradictory_generation_settings_do_not_lose_the_run(tmp_path: Path):
    """Published settings that transformers refuses to save once an id has changed."""
    base = tiny.base(tmp_path / "base")
    settings = {"temperature": 0.9, "top_p": 0.6, "do_sample": False}
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    (base / "generation_config.json").write_text(json.dumps(settings | ids))
    model, tokenizer = families.load_model(base), families.load_tokenizer(base)
    model.generation_config.eos_token_id = [0, 3]
    with pytest.raises(ValueError, match="temperature"):
        model.save_pretrained(tmp_path / "control")
    merging.save_model(model, tokenizer, tmp_path / "saved")
    again = families.load_model(tmp_path / "saved").generation_config
    assert again.eos_token_id == [0, 3]
    assert again.pad_token_id == 1
