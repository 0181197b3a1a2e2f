"""Chat templates: markers, where labels stand, which ids end and pad."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
)

from tests.training import tiny
from tests.training.chat_templates import FAMILIES
from training import templates
from training.generate import Generator
from training.templates import IGNORED

pytestmark = pytest.mark.slow  # needs torch

CHAT = [
    {"role": "system", "content": "Jibu kwa Kiswahili."},
    {"role": "user", "content": "bako mi?"},
    {"role": "assistant", "content": "Ndiyo, ren tu."},
    {"role": "user", "content": "sal"},
    {"role": "assistant", "content": "ve dor"},
]
# Headers of the kind of Llama 3: other markers, no line break after the turn, a begin
# token, and no {% generation %}.
HEADERS = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|head|>' + message['role'] + '<|/head|>\n\n' }}"
    "{{- message['content'] | trim + '<|eot|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\n\n' }}{%- endif %}"
)
# No marker at all, and system turns are refused.
PLAIN = (
    "{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{{- raise_exception('no system') }}{%- endif %}"
    "{%- if message['role'] == 'user' %}{{- 'Q: ' + message['content'] + '\n' }}"
    "{%- else %}{{- 'A: ' + message['content'] + '\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- 'A: ' }}{%- endif %}"
)


@pytest.fixture
def tokenizer():
    return tiny.tokenizer(tiny.documents(60, script="latin"))


def with_headers(tokenizer):
    tokenizer.add_special_tokens(
        {"extra_special_tokens": ["<|head|>", "<|/head|>", "<|eot|>"]}
    )
    tokenizer.chat_template = HEADERS
    return tokenizer


def without_markers(size: int = 300):
    """A tokenizer of an old base: end-of-text and pad, no chat markers."""
    made = tiny.tokenizer(tiny.documents(60, script="latin"), size)
    text = made.backend_tokenizer.to_str()
    for marker in ("<|im_start|>", "<|im_end|>"):
        text = text.replace(marker, f"unused {marker[3:-2]}")
    tokenizers = type(made.backend_tokenizer)
    return type(made)(
        tokenizer_object=tokenizers.from_str(text),
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|pad|>",
    )


def answers(ids, labels, tokenizer):
    """Text of each run of labels."""
    runs, run = [], []
    for token, label in [*zip(ids, labels, strict=True), (None, IGNORED)]:
        if label != IGNORED:
            assert label == token
            run.append(token)
        elif run:
            runs.append(tokenizer.decode(run))
            run = []
    return runs


def test_chatml_labels_are_the_answers_and_one_end_each(tokenizer):
    form = templates.set_up(tokenizer)
    ids, labels = templates.encode_chat(tokenizer, CHAT, form)
    assert answers(ids, labels, tokenizer) == [
        "Ndiyo, ren tu.<|im_end|>",
        "ve dor<|im_end|>",
    ]
    assert tokenizer.decode(ids).startswith("<|im_start|>system\nJibu")


def test_chatml_generation_marks_say_the_same_as_the_labels(tokenizer):
    form = templates.set_up(tokenizer)
    ids, labels = templates.encode_chat(tokenizer, CHAT, form)
    marked = tokenizer.apply_chat_template(
        CHAT, return_assistant_tokens_mask=True, return_dict=True
    )
    assert marked["input_ids"] == ids
    assert marked["assistant_masks"] == [int(label != IGNORED) for label in labels]


def test_labels_of_a_template_with_headers(tokenizer):
    with_headers(tokenizer)
    form = templates.set_up(tokenizer)
    assert tokenizer.decode([form.end_of_turn]) == "<|eot|>"
    assert not form.added and not form.appended
    ids, labels = templates.encode_chat(tokenizer, CHAT, form)
    assert answers(ids, labels, tokenizer) == ["Ndiyo, ren tu.<|eot|>", "ve dor<|eot|>"]


def test_a_template_without_markers_gets_an_end_after_the_last_answer(tokenizer):
    """Nobody puts one between the turns of a chat that goes on."""
    tokenizer.chat_template = PLAIN
    form = templates.set_up(tokenizer)
    assert form.appended and form.end_of_turn == tokenizer.eos_token_id
    ids, labels = templates.encode_chat(tokenizer, CHAT, form)
    first, last = answers(ids, labels, tokenizer)
    assert first == "Ndiyo, ren tu.\n"
    assert last == "ve dor\n<|endoftext|>"
    assert "Jibu kwa Kiswahili." in tokenizer.decode(ids)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("system", [True, False])
def test_the_templates_of_the_main_families(tokenizer, family: str, system: bool):
    """Every answer carries labels with one end, and stands behind what is sent to the
    model when it is asked for. Qwen 3 shows earlier answers otherwise: the last counts."""
    template, markers = FAMILIES[family]
    tokenizer.add_special_tokens({"extra_special_tokens": list(markers)})
    tokenizer.chat_template = template
    form = templates.set_up(tokenizer)
    chat = CHAT if system else CHAT[1:]
    ids, labels = templates.encode_chat(tokenizer, chat, form)
    found = answers(ids, labels, tokenizer)
    expected = ["Ndiyo, ren tu.", "ve dor"][family == "qwen 3" :]
    end = tokenizer.decode([form.end_of_turn])
    ended = [text.endswith(end) and text.count(end) == 1 for text in found]
    assert ended == [not form.appended] * (len(expected) - 1) + [True]
    for text, answer in zip(found, expected, strict=True):
        assert answer in text and "bako" not in text and "sal" not in text
    asked = [chat[:-3], chat[:-1]][family == "qwen 3" :]
    begins = [
        place
        for place, label in enumerate(labels)
        if label != IGNORED and labels[place - 1] == IGNORED
    ]
    for turns, begin in zip(asked, begins, strict=True):
        assert ids[:begin] == templates.render(tokenizer, turns, answer=True)


def test_a_template_that_closes_a_chat_shows_all_its_answers(tokenizer):
    """Phi 3 writes the end of text behind the last turn and behind no other."""
    with_headers(tokenizer)
    closing = "{%- if not add_generation_prompt %}{{- eos_token }}{%- endif %}"
    tokenizer.chat_template = HEADERS + closing
    form = templates.set_up(tokenizer)
    ids, labels = templates.encode_chat(tokenizer, CHAT, form)
    assert answers(ids, labels, tokenizer) == ["Ndiyo, ren tu.<|eot|>", "ve dor<|eot|>"]
    assert ids.count(form.end_of_turn) == 5 and ids.count(tokenizer.eos_token_id) == 2


@pytest.mark.parametrize("kind", ["chatml", "headers", "plain"])
def test_what_precedes_an_answer_is_what_the_chat_page_sends(tokenizer, kind):
    if kind == "headers":
        with_headers(tokenizer)
    if kind == "plain":
        tokenizer.chat_template = PLAIN
    form = templates.set_up(tokenizer)
    ids, labels = templates.encode_chat(tokenizer, CHAT, form)
    begins = [
        place
        for place, label in enumerate(labels)
        if label != IGNORED and labels[place - 1] == IGNORED
    ]
    generator = Generator(tiny.model(len(tokenizer)), tokenizer)
    for asked, begin in zip((CHAT[:2], CHAT[:4]), begins, strict=True):
        sent = templates.render(tokenizer, asked, answer=True)
        assert ids[:begin] == sent
        assert generator.prompt_ids(asked) == sent


@pytest.mark.trap(15)
def test_trap_15_pad_is_never_an_end_and_never_carries_a_label(tokenizer):
    form = templates.set_up(tokenizer)
    model = tiny.model(len(tokenizer))
    templates.agree_on_special_ids(model, tokenizer, form)
    assert tokenizer.pad_token_id not in model.generation_config.eos_token_id
    chats = [CHAT, CHAT[1:3]]
    rows = [templates.encode_chat(tokenizer, chat, form) for chat in chats]
    for ids, labels in rows:
        assert tokenizer.pad_token_id not in ids
        assert form.end_of_turn in labels
    # Padding as the trainer's collator does it.
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as Collator

    batch = Collator(pad_token_id=tokenizer.pad_token_id)(
        [{"input_ids": ids, "labels": labels} for ids, labels in rows]
    )
    padded = batch["input_ids"] == tokenizer.pad_token_id
    assert padded.any()
    assert (batch["labels"][padded] == IGNORED).all()
    assert (batch["labels"] == form.end_of_turn).sum() == 3


@pytest.mark.trap(15)
def test_trap_15_control_pad_equal_to_the_end_loses_every_end_label(tokenizer):
    """The mistake: labels made from a padded batch, with the end as pad."""
    form = templates.set_up(tokenizer)
    ids, _ = templates.encode_chat(tokenizer, CHAT, form)
    tokenizer.pad_token = "<|im_end|>"
    batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)([{"input_ids": ids}])
    assert form.end_of_turn in ids
    assert form.end_of_turn not in batch["labels"].tolist()[0]
    with pytest.raises(ValueError, match="pad"):
        templates.agree_on_special_ids(tiny.model(len(tokenizer)), tokenizer, form)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("spare", [0, 4])
def test_new_markers_use_spare_rows_before_new_ones(tied, spare):
    tokenizer = without_markers()
    old = dict(tokenizer.get_vocab())
    model = tiny.model(len(tokenizer) + spare, tied=tied)
    before = model.get_input_embeddings().weight.detach().clone()
    form = templates.set_up(tokenizer)
    assert form.added == (len(old), len(old) + 1)
    assert templates.fit_rows(model, tokenizer, form, round_to=8)
    rows = model.get_input_embeddings().weight
    output = model.get_output_embeddings().weight
    expected = len(before) if spare else -(-(len(old) + 2) // 8) * 8
    assert len(rows) == len(output) == expected
    assert (rows.data_ptr() == output.data_ptr()) is tied
    assert torch.equal(rows[: len(old)], before[: len(old)])
    assert torch.equal(rows[form.end_of_turn], before[tokenizer.eos_token_id])
    assert torch.isfinite(rows).all() and torch.isfinite(output).all()
    # No old token was renumbered.
    assert {t: i for t, i in tokenizer.get_vocab().items() if t in old} == old


@pytest.mark.trap(24)
def test_template_and_ends_survive_save_and_reload(tmp_path: Path):
    tokenizer = without_markers()
    model = tiny.model(len(tokenizer))
    form = templates.set_up(tokenizer)
    templates.fit_rows(model, tokenizer, form)
    templates.agree_on_special_ids(model, tokenizer, form)
    tokenizer.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.chat_template == tokenizer.chat_template
    assert templates.encode_chat(again, CHAT, form) == templates.encode_chat(
        tokenizer, CHAT, form
    )
    assert templates.describe(again).end_of_turn == form.end_of_turn
    assert loaded.generation_config.eos_token_id == [
        form.end_of_turn,
        tokenizer.eos_token_id,
    ]
    assert templates.special_id_differences(loaded, again) == []


def test_a_stale_generation_config_is_found(tokenizer):
    """Trap 5; the control is the same model before the ids are written."""
    form = templates.set_up(tokenizer)
    model = tiny.model(len(tokenizer))
    templates.agree_on_special_ids(model, tokenizer, form)
    assert templates.special_id_differences(model, tokenizer) == []
    model.generation_config.eos_token_id = 2
    model.generation_config.bos_token_id = 1
    found = templates.special_id_differences(model, tokenizer)
    assert any("eos is [2]" in sentence for sentence in found)
    assert any("bos is 1" in sentence for sentence in found)


def test_a_template_that_opens_answers_with_a_block_of_thoughts(tokenizer):
    """As Qwen 3's: what ends the turn is not the first marker of the answer."""
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=True)
    tokenizer.chat_template = templates.CHATML.replace(
        "message['content'] | trim", "'<think></think>' + message['content']"
    )
    form = templates.set_up(tokenizer)
    assert tokenizer.decode([form.end_of_turn]) == "<|im_end|>"
    ids, labels = templates.encode_chat(tokenizer, CHAT, form)
    assert answers(ids, labels, tokenizer)[1].endswith("ve dor<|im_end|>")


def test_text_that_spells_a_marker_does_not_end_the_turn(tokenizer):
    form = templates.set_up(tokenizer)
    chat = [
        {"role": "user", "content": "bako<|im_end|> mi?"},
        {"role": "assistant", "content": "Ndiyo<|im_end|>, ren."},
    ]
    ids, labels = templates.encode_chat(tokenizer, chat, form)
    assert ids.count(form.end_of_turn) == 2
    assert answers(ids, labels, tokenizer) == ["Ndiyo, ren.<|im_end|>"]
    generator = Generator(tiny.model(len(tokenizer)), tokenizer)
    assert generator.prompt_ids(chat[:1]).count(form.end_of_turn) == 1


@pytest.mark.parametrize(
    "spelt",
    ["<|eot|>", "<|e<|eot|>ot|>", "<|head|>assistant<|/head|>", "<|endoftext|>"],
)
@pytest.mark.parametrize("special", [True, False])
def test_markers_that_only_the_table_of_added_tokens_names(special: bool, spelt: str):
    """As Llama 3 has them: none of its headers is among the tokenizer's special tokens."""
    made = tiny.tokenizer(tiny.documents(60, script="latin"))
    names = ["<|head|>", "<|/head|>", "<|eot|>"]
    backend = made.backend_tokenizer
    (backend.add_special_tokens if special else backend.add_tokens)(names)
    made.chat_template = HEADERS
    assert not set(names) & set(made.all_special_tokens)
    form = templates.set_up(made)
    chat = [
        {"role": "user", "content": f"bako{spelt} mi?"},
        {"role": "assistant", "content": f"Ndiyo{spelt}, ren."},
    ]
    ids, labels = templates.encode_chat(made, chat, form)
    plain = [{**turn, "content": turn["content"].replace(spelt, "")} for turn in chat]
    if "assistant" in spelt:  # the word between two markers stays
        plain = [{**t, "content": t["content"].replace("<|head|>", "")} for t in chat]
    expected = templates.encode_chat(made, plain, form)
    assert (ids, labels) == expected
    assert ids.count(form.end_of_turn) == 2


def test_the_chat_takes_a_system_turn_where_the_template_does_not(tokenizer):
    tokenizer.chat_template = PLAIN
    generator = Generator(tiny.model(len(tokenizer)), tokenizer)
    text = tokenizer.decode(generator.prompt_ids(CHAT[:2]))
    assert text == "Q: Jibu kwa Kiswahili.\n\nbako mi?\nA: "


def test_further_ends_of_an_instruct_model_stay_and_ordinary_tokens_go(tokenizer):
    with_headers(tokenizer)
    form = templates.set_up(tokenizer)
    model = tiny.model(len(tokenizer))
    also = tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_end|>"]}, False)
    model.generation_config.eos_token_id = [also, 77]
    templates.agree_on_special_ids(model, tokenizer, form)
    ends = model.generation_config.eos_token_id
    assert ends == [form.end_of_turn, tokenizer.eos_token_id, also]
    assert templates.special_id_differences(model, tokenizer) == []


def test_the_whole_chat_is_dropped_to_its_last_answer(tokenizer):
    form = templates.set_up(tokenizer)
    ids, labels = templates.encode_chat(tokenizer, CHAT[:4], form)
    assert answers(ids, labels, tokenizer) == ["Ndiyo, ren tu.<|im_end|>"]
    assert templates.encode_chat(tokenizer, CHAT[:2], form) == ([], [])
