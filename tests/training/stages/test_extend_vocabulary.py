"""The stage from a folder to a folder, as others will load it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from tests.training import tiny
from tests.training.vocabulary import bases
from training import families
from training.errors import BaseUnsuitable, ScriptUnreadable, TokenizerMismatch
from training.events import read_events
from training.run import StageContext
from training.spec import ExtendVocabulary
from training.stages import extend_vocabulary

SETTINGS = ExtendVocabulary(new_tokens=100, minimum_occurrences=4, round_rows_to=16)
TEMPLATE = "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"


def stage(
    folder: Path, base: Path, settings: ExtendVocabulary, script: str = "cyrillic"
) -> StageContext:
    prepared = folder / "prepared"
    for number, part in enumerate(("train", "validation")):
        texts = tiny.documents(
            80 if part == "train" else 20, script=script, seed=number
        )
        rows = [{"text": text} for text in texts]
        tiny.write_rows(prepared / f"target-{part}.jsonl", rows)
    job = tiny.spec(folder, [settings], base_folder=base, count=4)
    return tiny.context(job, settings, folder / "run", finished={"prepare": prepared})


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_family_loads_again(tmp_path: Path, family: str, tied: bool) -> None:
    base = tiny.base(tmp_path / "base", family=family, tied=tied, extra_rows=30)
    context = stage(tmp_path, base, SETTINGS, script="devanagari")
    figures = extend_vocabulary.run(context)
    folder = context.folder / "model"
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert figures["unreachable"] == 0 and figures["added"] > 30
    assert figures["vocabulary_after"] == len(tokenizer)
    assert (
        figures["characters_per_token_after"]
        > 2 * (figures["characters_per_token_before"])
    )
    rows = model.get_input_embeddings().weight
    assert rows.shape[0] >= len(tokenizer) and rows.shape[0] == model.config.vocab_size
    head = model.get_output_embeddings().weight
    assert (head.data_ptr() == rows.data_ptr()) is tied
    old = families.load_model(base).get_input_embeddings().weight
    assert torch.equal(rows[:320], old[:320])
    text = "मेंभा षादी 12"
    ids = tokenizer(text)["input_ids"]
    assert ids == families.load_tokenizer(folder)(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert model(torch.tensor([ids])).logits.isfinite().all()


@pytest.mark.parametrize(("family", "said"), [("qwen2", True), ("llama", False)])
def test_marks_that_cannot_be_kept_are_said(
    tmp_path: Path, family: str, said: bool
) -> None:
    base = tiny.base(tmp_path / "base", family=family)
    context = stage(tmp_path, base, SETTINGS, script="devanagari")
    figures = extend_vocabulary.run(context)
    events, _ = read_events(context.events.path)
    warnings = [
        event["sentence"] for event in events if event.get("level") == "warning"
    ]
    assert any("vowel signs" in sentence for sentence in warnings) is said
    assert (figures["marks_kept_with_letters"] == 0) is said


def test_the_size_is_chosen_and_several_languages_share_it(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base")
    settings = replace(
        SETTINGS, size="auto", new_tokens=2_000, sampling_exponent=0.3, round_rows_to=32
    )
    context = stage(tmp_path, base, settings)
    for part, count in (("train", 40), ("validation", 10)):
        path = context.prepared / f"target-{part}.jsonl"
        kazakh = path.read_text(encoding="utf-8").splitlines()
        rows = [{**json.loads(line), "language": "kk"} for line in kazakh]
        tibetan = tiny.documents(count, script="tibetan", seed=len(part))
        rows += [{"text": text, "language": "bo"} for text in tibetan]
        tiny.write_rows(path, rows)
    figures = extend_vocabulary.run(context)
    model = families.load_model(context.folder / "model")
    rows_now = model.get_input_embeddings().weight.shape[0]
    assert rows_now == figures["vocabulary_after"] and rows_now % 32 == 0
    assert 0 < figures["added"] < 2_000
    curve = figures["size_curve"]
    assert curve[0][0] == 0 and curve[0][1] > 2 * curve[-1][1]
    shares = figures["tokens_by_language"]
    assert set(shares) == {"kk", "bo"}
    assert sum(row["tokens"] for row in shares.values()) == figures["added"]
    for row in shares.values():
        assert row["tokens_per_word_after"] < row["tokens_per_word_before"] / 2


def test_a_saved_tokenizer_that_reads_back_differently_is_caught(
    tmp_path: Path,
) -> None:
    base = tiny.base(tmp_path / "base", family="qwen2")
    texts = tiny.documents(5, script="devanagari")
    rebuilt = AutoTokenizer.from_pretrained(base).backend_tokenizer
    extend_vocabulary.check_saved(base, rebuilt, texts)
    written = tiny.tokenizer(tiny.documents(80, script="latin")).backend_tokenizer
    with pytest.raises(TokenizerMismatch, match="read back"):
        extend_vocabulary.check_saved(base, written, ["ba", "e\u0301"])


def test_what_surrounds_the_vocabulary_is_carried_over(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base")
    words = families.load_tokenizer(base)
    words.chat_template = TEMPLATE
    words.model_max_length = 77
    words.add_special_tokens({"extra_special_tokens": tiny.SPECIAL[2:]})
    words.save_pretrained(base)
    generation = {"do_sample": False, "temperature": 0.3, "eos_token_id": [0, 3]}
    (base / "generation_config.json").write_text(json.dumps(generation))
    context = stage(tmp_path, base, SETTINGS)
    extend_vocabulary.run(context)
    folder = context.folder / "model"
    loaded = AutoTokenizer.from_pretrained(folder)
    assert loaded.chat_template == TEMPLATE and loaded.model_max_length == 77
    assert (loaded.eos_token_id, loaded.pad_token_id) == (0, 1)
    assert set(loaded.all_special_tokens) == set(tiny.SPECIAL)
    ids = [loaded.convert_tokens_to_ids(name) for name in tiny.SPECIAL]
    assert ids == [0, 1, 2, 3]
    assert loaded("ba<|im_end|>")["input_ids"][-1] == 3
    assert json.loads((folder / "generation_config.json").read_text()) == generation
    listed = json.loads((context.folder / "vocabulary.json").read_text("utf-8"))
    assert [token["id"] for token in listed] == list(range(320, 320 + len(listed)))
    for token in listed:
        assert loaded.convert_tokens_to_ids(token["piece"]) == token["id"]
        assert token["occurrences"] >= 4


def test_new_ids_may_fall_on_padding_rows(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base", extra_rows=400)
    context = stage(tmp_path, base, SETTINGS)
    extend_vocabulary.run(context)
    saved = families.load_model(context.folder / "model").get_input_embeddings().weight
    old = families.load_model(base).get_input_embeddings().weight
    assert saved.shape == old.shape
    listed = json.loads((context.folder / "vocabulary.json").read_text("utf-8"))
    for token in listed:
        row = old[token["base_ids"]].mean(0)
        assert torch.allclose(saved[token["id"]], row, atol=1e-6)
        assert not torch.equal(saved[token["id"]], old[token["id"]])


def test_the_stored_precision_is_kept(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base")
    families.load_model(base, dtype=torch.bfloat16).save_pretrained(base)
    context = stage(tmp_path, base, SETTINGS)
    extend_vocabulary.run(context)
    model = families.load_model(context.folder / "model", dtype="auto")
    assert model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "settings", [ExtendVocabulary(method="keep"), ExtendVocabulary(new_tokens=0)]
)
def test_keep_copies_the_base(tmp_path: Path, settings: ExtendVocabulary) -> None:
    base = tiny.base(tmp_path / "base")
    (base / "pytorch_model.bin").write_bytes(b"never read")
    (base / "modeling_own.py").write_text("raise SystemExit")
    config = json.loads((base / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_own.Own"}
    (base / "config.json").write_text(json.dumps(config))
    context = stage(tmp_path, base, settings)
    figures = extend_vocabulary.run(context)
    folder = context.folder / "model"
    assert figures["added"] == figures["unreachable"] == 0
    assert figures["vocabulary_before"] == figures["vocabulary_after"]
    for name in ("model.safetensors", "tokenizer.json"):
        assert (folder / name).read_bytes() == (base / name).read_bytes()
    names = {path.name for path in folder.iterdir()}
    assert "pytorch_model.bin" not in names and "modeling_own.py" not in names
    assert "auto_map" not in json.loads((folder / "config.json").read_text())


def test_weights_and_tokenizer_that_do_not_belong_together(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base")
    tiny.model(300).save_pretrained(base)
    with pytest.raises(TokenizerMismatch, match="319 and the model only 300 rows"):
        extend_vocabulary.run(stage(tmp_path, base, SETTINGS))


@pytest.mark.parametrize("method", ["continued_bpe", "keep"])
def test_an_unreadable_script_is_refused(
    tmp_path: Path, shared_data: Path, method: str
) -> None:
    base = shared_data / "base-models/babyllama-tok105-1M"
    settings = ExtendVocabulary(method=method)
    with pytest.raises(ScriptUnreadable, match="% of the text's characters") as refused:
        extend_vocabulary.run(stage(tmp_path, base, settings))
    assert "byte fallback" in refused.value.hint


def test_a_pretrained_model(tmp_path: Path, shared_data: Path) -> None:
    base = shared_data / "base-models/stories260K"
    context = stage(tmp_path, base, SETTINGS, script="tibetan")
    figures = extend_vocabulary.run(context)
    assert figures["added"] > 90 and figures["unreachable"] == 0
    assert figures["added_characters"] > 5
    old, new = base, context.folder / "model"
    text = "Once upon a time, there was a little girl named Lily."
    answers = []
    for folder in (old, new):
        tokenizer = families.load_tokenizer(folder)
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        answers.append(families.load_model(folder)(ids).logits[..., :512])
    assert torch.allclose(answers[0], answers[1], atol=1e-5)


METHODS = {
    "append": SETTINGS,
    "replace": replace(SETTINGS, vocabulary_size=400),
    "prune": replace(SETTINGS, prune_tokens=40),
    "prune compact": replace(SETTINGS, prune_tokens=40, special_ids="compact"),
}


def with_specials_last(folder: Path, *, tied: bool, extra_rows: int) -> Path:
    """A base like Llama 3: special ids behind all pieces, after a gap."""
    backend = bases.llama3()
    words = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tiny.SPECIAL[0],
        eos_token=tiny.SPECIAL[0],
        pad_token=tiny.SPECIAL[1],
        chat_template=TEMPLATE,
    )
    words.save_pretrained(folder)
    model = tiny.model(len(words) + extra_rows, tied=tied)
    end, padding = words.eos_token_id, words.pad_token_id
    model.config.bos_token_id = model.config.eos_token_id = end
    model.config.pad_token_id = padding
    model.save_pretrained(folder)
    generation = {"eos_token_id": [end, words.vocab[tiny.SPECIAL[3]]]}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("tied", "extra_rows"), [(True, 30), (False, 0)])
@pytest.mark.parametrize("name", METHODS)
def test_rows_of_every_method(
    tmp_path: Path, name: str, tied: bool, extra_rows: int
) -> None:
    base = with_specials_last(tmp_path / "base", tied=tied, extra_rows=extra_rows)
    context = stage(tmp_path, base, replace(METHODS[name], method=name.split()[0]))
    figures = extend_vocabulary.run(context)
    assert figures["unreachable"] == 0
    folder = context.folder / "model"
    loaded = AutoTokenizer.from_pretrained(folder)
    old, new = AutoTokenizer.from_pretrained(base), families.load_tokenizer(folder)
    models = [families.load_model(path) for path in (base, folder)]
    vocabulary, before = loaded.get_vocab(), old.get_vocab()
    listed = json.loads((context.folder / "vocabulary.json").read_text("utf-8"))
    fresh = {token["id"] for token in listed}
    path = context.folder / "kept.json"
    if path.is_file():
        kept = {int(new): old for new, old in json.loads(path.read_text()).items()}
        assert set(kept) | fresh == set(vocabulary.values()) and not set(kept) & fresh
    else:
        kept = {id_: id_ for id_ in before.values()}
    # Rows that were carried over keep every bit, and belong to the same string.
    for side in ("get_input_embeddings", "get_output_embeddings"):
        one, other = (getattr(model, side)().weight for model in models)
        assert torch.equal(other[list(kept)], one[list(kept.values())])
        assert other.shape[0] % 16 == 0 or not path.is_file()
    for piece, id_ in vocabulary.items():
        assert id_ in fresh or before[piece] == kept[id_]
    # Special tokens: template, names, ids in every configuration.
    assert loaded.chat_template == TEMPLATE
    for role in ("bos_token", "eos_token", "pad_token"):
        assert getattr(loaded, role) == getattr(old, role)
        assert getattr(models[1].config, f"{role}_id") == getattr(loaded, f"{role}_id")
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [vocabulary[tiny.SPECIAL[0]], vocabulary[tiny.SPECIAL[3]]]
    if name != "prune compact":
        assert loaded.eos_token_id == old.eos_token_id
        assert loaded.get_added_vocab() == old.get_added_vocab()
    text = "қабарба ko 12 <|im_end|>"
    ids = loaded(text)["input_ids"]
    assert ids == new(text)["input_ids"] and loaded.decode(ids) == text
    # transformers 5 has no slow tokenizers any more: asking for one gives this one.
    slow = AutoTokenizer.from_pretrained(folder, use_fast=False)
    assert slow.is_fast and slow(text)["input_ids"] == ids


def test_a_pruned_model_gives_the_bases_logits(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base", tied=False)
    settings = ExtendVocabulary(method="prune", prune_tokens=30)
    context = stage(tmp_path, base, settings)
    extend_vocabulary.run(context)
    folder = context.folder / "model"
    kept = json.loads((context.folder / "kept.json").read_text())
    new = torch.tensor([int(id_) for id_ in kept])
    old = torch.tensor(list(kept.values()))
    ids = torch.randint(len(new), (1, 40), generator=torch.Generator().manual_seed(1))
    one = families.load_model(base)(old[ids]).logits[..., old]
    other = families.load_model(folder)(new[ids]).logits[..., new]
    assert torch.allclose(one, other, atol=1e-5)


def test_pruned_to_make_room_then_extended(tmp_path: Path) -> None:
    base = with_specials_last(tmp_path / "base", tied=True, extra_rows=0)
    prune = ExtendVocabulary(method="prune", prune_tokens=40, special_ids="compact")
    first = stage(tmp_path, base, prune)
    extend_vocabulary.run(first)
    extend = replace(SETTINGS, new_tokens=38, round_rows_to=1)
    second = tiny.context(
        first.spec,
        extend,
        tmp_path / "run2",
        model_folder=first.folder / "model",
        finished={**first.finished, "extend_vocabulary": first.folder},
    )
    figures = extend_vocabulary.run(second)
    assert figures["added"] == 38 and figures["unreachable"] == 0
    base_rows = families.load_model(base).get_input_embeddings().weight
    rows = families.load_model(second.folder / "model").get_input_embeddings().weight
    assert rows.shape[0] <= base_rows.shape[0]
    kept = json.loads((second.folder / "kept.json").read_text())
    carried = base_rows[list(kept.values())]
    assert torch.equal(rows[[int(new) for new in kept]], carried)
    for token in json.loads((second.folder / "vocabulary.json").read_text("utf-8")):
        mean = base_rows[token["base_ids"]].mean(0)
        assert torch.allclose(rows[token["id"]], mean, atol=1e-6)


@pytest.mark.parametrize("method", ["continued_bpe", "replace"])
def test_a_unigram_base(tmp_path: Path, method: str) -> None:
    words = PreTrainedTokenizerFast(
        tokenizer_object=bases.unigram(), bos_token="<s>", eos_token="</s>"
    )
    base = tiny.base(tmp_path / "base")
    words.save_pretrained(base)
    tiny.model(len(words)).save_pretrained(base)
    with pytest.raises(BaseUnsuitable, match="Unigram") as refused:
        extend_vocabulary.run(stage(tmp_path, base, replace(SETTINGS, method=method)))
    assert "append" in refused.value.hint
    context = stage(tmp_path, base, replace(SETTINGS, method="append"))
    figures = extend_vocabulary.run(context)
    assert figures["added"] > 50 and figures["unreachable"] == 0
    loaded = AutoTokenizer.from_pretrained(context.folder / "model")
    text = "қабар ba"
    assert loaded.decode(loaded(text)["input_ids"]) == text
    assert (
        figures["characters_per_token_after"]
        > 2 * (figures["characters_per_token_before"])
    )


@pytest.mark.parametrize("method", ["continued_bpe", "keep"])
def test_the_licence_goes_along(tmp_path: Path, method: str) -> None:
    base = tiny.base(tmp_path / "base")
    (base / "LICENSE.txt").write_text("Share alike.")
    context = stage(tmp_path, base, replace(SETTINGS, method=method))
    extend_vocabulary.run(context)
    assert (context.folder / "model/LICENSE.txt").read_text() == "Share alike."
