from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.webapp.bases.folders import (
    byte_fallback,
    byte_level,
    make_folder,
    write_weights,
)
from webapp.bases.passport import cut, read_passport
from webapp.core.errors import Refusal

PIECES = len(json.loads(byte_level())["model"]["vocab"])
REAL = {
    # folder: pieces, parameters (SOURCES.md and the folders' own files), byte fallback
    "stories260K": (512, 260_032, True),
    "babyllama-tok361-1M": (361, 969_216, True),
    "babyllama-tok105-1M": (105, None, False),
}


@pytest.mark.parametrize("name", REAL)
def test_passports_of_real_bases(shared_data: Path, name: str) -> None:
    pieces, parameters, fallback = REAL[name]
    passport = read_passport(shared_data / "base-models" / name)
    assert passport["family"] == "Llama"
    assert passport["vocabulary"] == pieces <= passport["rows"]
    assert passport["byte_fallback"] is fallback
    assert not passport["byte_level"]
    assert len(passport["tokenizer_sha256"]) == 64
    if parameters:
        assert passport["parameters"] == parameters


def test_a_small_folder_is_read(tmp_path: Path) -> None:
    passport = read_passport(make_folder(tmp_path / "base", rows=320))
    assert passport["vocabulary"] == PIECES
    assert passport["rows"] == 320
    assert passport["parameters"] == 320 * 4 + 4
    assert passport["tied"] and passport["byte_level"] and passport["byte_fallback"]
    assert passport["special"]["eos_token"] == "</s>"
    assert passport["special"]["bos_token"] == "<s>"
    assert passport["special"]["pad_token"] is None


def test_an_untied_head_is_seen(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, tie_word_embeddings=False)
    shapes = {"model.embed_tokens.weight": [400, 4], "lm_head.weight": [400, 4]}
    write_weights(folder / "model.safetensors", shapes)
    assert not read_passport(folder)["tied"]


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def with_code(folder: Path) -> None:
    make_folder(folder, auto_map={"AutoModelForCausalLM": "modeling.Mine"})


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def without_a_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04" * 100)


def with_a_strange_header(folder: Path) -> None:
    head = b'{"model.embed_tokens.weight": 7}'
    (folder / "model.safetensors").write_bytes(
        len(head).to_bytes(8, "little") + head + bytes(10)
    )


def with_a_missing_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def with_damaged_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": ["Llama')


def with_json_of_another_sort(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2]")


def nested_beyond_measure(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("[" * 200_000)


def not_utf8(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b"\xff\xfe\x00{")


def with_fewer_rows(folder: Path) -> None:
    make_folder(folder, rows=250)


def with_wordpiece(folder: Path) -> None:
    plain = json.loads(byte_level())
    plain["model"]["type"] = "WordPiece"
    (folder / "tokenizer.json").write_text(json.dumps(plain))


def with_strange_ids(folder: Path) -> None:
    plain = json.loads(byte_level())
    plain["model"]["vocab"] = {"a": "one"}
    (folder / "tokenizer.json").write_text(json.dumps(plain))


def without_a_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def of_another_architecture(folder: Path) -> None:
    make_folder(folder, architectures=["MambaForCausalLM"])


def without_an_embedding(folder: Path) -> None:
    write_weights(folder / "model.safetensors", {"something": [400, 4]})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_weights, "no *.safetensors"),
        (only_pickles, "can hold programs"),
        (with_code, "auto_map"),
        (truncated, "incomplete"),
        (without_a_header, "model.safetensors is damaged"),
        (with_a_strange_header, "model.safetensors is damaged"),
        (with_a_missing_shard, "model-00002.safetensors is missing"),
        (with_damaged_json, "config.json cannot be read"),
        (with_json_of_another_sort, "config.json is not a JSON object"),
        (nested_beyond_measure, "tokenizer.json cannot be read"),
        (not_utf8, "tokenizer.json cannot be read"),
        (with_fewer_rows, f"{PIECES} pieces, the weights only 250 rows"),
        (with_wordpiece, "WordPiece"),
        (with_strange_ids, "tokenizer.json is damaged"),
        (without_a_tokenizer, "no tokenizer.json"),
        (of_another_architecture, "MambaForCausalLM"),
        (without_an_embedding, "embedding table"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_a_base_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    folder = make_folder(tmp_path / "base")
    assert read_passport(folder)  # nothing but the damage is refused
    damage(folder)
    with pytest.raises(Refusal, match=says.replace("*", r"\*")):
        read_passport(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="There is no folder"):
        read_passport(tmp_path / "nowhere")


@pytest.mark.parametrize("tokenizer", [byte_level, byte_fallback])
def test_all_pieces_of_a_split_character_are_marked(
    tmp_path: Path, tokenizer: Callable[[], str]
) -> None:
    pieces = cut(str(make_folder(tmp_path, tokenizer())), "the བ cat")
    texts = [piece["text"] for piece in pieces]
    first = next(place for place, text in enumerate(texts) if "བ" in text)
    assert texts[first + 1 : first + 3] == ["", ""]
    assert [p["bytes"] for p in pieces[first : first + 3]] == [True] * 3
    assert not any(p["bytes"] for p in pieces[:first] + pieces[first + 3 :])


def test_a_tokenizer_without_bytes_says_what_it_gives_up(tmp_path: Path) -> None:
    pieces = cut(str(make_folder(tmp_path, byte_fallback(False))), "the བོད cat")
    assert "".join(p["text"] for p in pieces if p["unknown"]) == "བོད"
    assert sum(p["unknown"] for p in pieces) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "tokenizer",
    [byte_level, byte_fallback, lambda: byte_fallback(False)],
    ids=["byte-level", "byte-fallback", "neither"],
)
@given(text=st.text(min_size=1, max_size=40))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_pieces_give_back_the_text(
    tmp_path: Path, tokenizer: Callable[[], str], text: str
) -> None:
    if not (tmp_path / "tokenizer.json").exists():
        make_folder(tmp_path, tokenizer())
    pieces = cut(str(tmp_path), text)
    assert "".join(piece["text"] for piece in pieces) == text
