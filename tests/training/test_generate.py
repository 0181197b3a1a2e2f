from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from training.generate import Generator, TextStream, choose, end_ids
from training.merging import save_model

pytestmark = pytest.mark.slow  # needs torch

TEXTS = tiny.documents(60)


@pytest.fixture(scope="module")
def generator() -> Generator:
    words = tiny.tokenizer(TEXTS)
    return Generator(tiny.model(len(words) + 64), words)


def test_the_cache_changes_nothing(generator: Generator) -> None:
    """Greedy ids are those of a model that reads everything anew each time."""
    prompt = generator.prompt_ids("қабар жолең")
    found = list(generator.token_ids(prompt, max_tokens=12))
    ids = list(prompt)
    for chosen in found:
        with torch.no_grad():
            scores = generator.model(input_ids=torch.tensor([ids])).logits[0, -1]
        assert int(scores[: len(generator.tokenizer)].argmax()) == chosen
        ids.append(chosen)
    assert len(found) == 12


def test_unknown_ids_are_never_generated() -> None:
    """Padded rows win the softmax here and are still not chosen."""
    words = tiny.tokenizer(TEXTS)
    model = tiny.model(len(words) + 64, tied=False)
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        head[len(words) :] = 50 * torch.randn(64, head.shape[1])
        logits = model(input_ids=torch.tensor([[0, 9]])).logits[0, -1]
    assert int(logits.argmax()) >= len(words)
    generator = Generator(model, words)
    for temperature in (0.0, 1.0, 3.0):
        found = generator.token_ids(
            [0, 9], max_tokens=40, temperature=temperature, seed=1
        )
        assert all(id_ < len(words) for id_ in found)


def test_the_seed_decides(generator: Generator) -> None:
    def text(seed: int) -> str:
        return "".join(generator.stream("қабар", 20, temperature=1.0, seed=seed))

    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert text(1) == text(1) != text(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_ends_at_an_end_token(generator: Generator) -> None:
    prompt = generator.prompt_ids("қабар")
    first = next(generator.token_ids(prompt, max_tokens=5))
    stopping = Generator(generator.model, generator.tokenizer)
    stopping.ends = {first}
    assert list(stopping.token_ids(prompt, max_tokens=5)) == []
    assert generator.tokenizer.eos_token_id in end_ids(
        generator.model, generator.tokenizer
    )


def test_ends_when_asked_to(generator: Generator) -> None:
    stop = threading.Event()
    ids = generator.token_ids([0, 9], max_tokens=50, stop_event=stop)
    next(ids)
    stop.set()
    assert list(ids) == []


def test_a_long_prompt_leaves_room(generator: Generator) -> None:
    prompt = list(range(4, 304)) * 3
    found = list(generator.token_ids(prompt, max_tokens=1_000))
    assert 0 < len(found) <= generator.positions // 2


@pytest.mark.parametrize("script", tiny.SYLLABLES)
def test_only_whole_characters_are_shown(script: str) -> None:
    """A tokenizer of another script writes every character as several bytes."""
    words = tiny.tokenizer(tiny.documents(60, script="latin"))
    text = "a " + tiny.documents(1, script=script)[0] + " 👩🏽‍🚀 é"
    stream, pieces = TextStream(words), []
    for id_ in words(text, add_special_tokens=False)["input_ids"]:
        pieces.append(stream.push(id_))
    pieces.append(stream.finish())
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_are_no_character_are_not_held_for_ever() -> None:
    words = tiny.tokenizer(tiny.documents(60, script="latin"))
    lead = words("é", add_special_tokens=False)["input_ids"][0]
    stream = TextStream(words)
    shown = [stream.push(lead) for _ in range(12)]
    assert "\ufffd" in "".join(shown)


@pytest.mark.parametrize("script", tiny.SYLLABLES)
def test_a_character_that_is_cut_off_at_the_end_is_left_out(script: str) -> None:
    """Where an answer ends at its most tokens, in the middle of a character."""
    words = tiny.tokenizer(tiny.documents(60, script="latin"))
    text = "a " + tiny.documents(1, script=script)[0][:12]
    ids = words(text, add_special_tokens=False)["input_ids"]
    for end in range(1, len(ids) + 1):
        stream = TextStream(words)
        shown = "".join([*map(stream.push, ids[:end]), stream.finish()])
        assert text.startswith(shown) and "\ufffd" not in shown
    assert shown == text


def test_choosing_from_the_best() -> None:
    scores = torch.tensor([1.0, 5.0, 4.0, -2.0])
    random = torch.Generator().manual_seed(1)

    def drawn(top_p: float, top_k: int) -> set[int]:
        return {choose(scores, 2.0, top_p, top_k, random) for _ in range(200)}

    assert choose(scores, 0.0, 1.0, 0, random) == 1
    assert drawn(1.0, 0) >= {0, 1, 2}
    assert drawn(1.0, 2) == {1, 2}
    assert drawn(0.1, 0) == {1}
    assert drawn(0.0, 0) == {1}


def test_repetition_is_made_less_likely(generator: Generator) -> None:
    def distinct(penalty: float) -> int:
        ids = generator.token_ids([0, 9], max_tokens=40, repetition_penalty=penalty)
        return len(set(ids))

    assert distinct(5.0) > distinct(1.0)


def test_turns_need_no_template(generator: Generator, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "қабар"}]
    plain = generator.prompt_ids(turns)
    assert generator.tokenizer.decode(plain[1:]) == "қабар\n"
    save_model(generator.model, generator.tokenizer, tmp_path)
    loaded = Generator.load(tmp_path)
    loaded.tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    )
    chat = loaded.prompt_ids(turns)
    assert loaded.tokenizer.decode(chat) == "<|im_start|>қабар<|im_end|>"
    assert isinstance("".join(loaded.stream(turns, 5, temperature=0.0)), str)
