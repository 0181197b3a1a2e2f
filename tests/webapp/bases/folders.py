"""Small model folders made in a test: a real tokenizer, weights of zeros."""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

ENGLISH = ["the cat sat on the mat and the dog saw the cat"] * 20
WIDTH = 4


@lru_cache(maxsize=4)
def byte_level(pieces: int = 300) -> str:
    """tokenizer.json of a byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(ENGLISH, trainer)
    return tokenizer.to_str()


@lru_cache(maxsize=4)
def byte_fallback(fallback: bool = True) -> str:
    """tokenizer.json of a SentencePiece BPE, with or without byte fallback."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    sign = "\N{LOWER ONE EIGHTH BLOCK}"
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(sign), normalizers.Replace(" ", sign)]
    )
    special = ["<unk>", "<s>", "</s>"]
    special += [f"<0x{value:02X}>" for value in range(256)] if fallback else []
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(ENGLISH, trainer)
    plain = json.loads(tokenizer.to_str())
    plain["model"] |= {"byte_fallback": fallback, "fuse_unk": True}
    plain["added_tokens"] = plain["added_tokens"][:3]
    return json.dumps(plain)


def write_weights(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of zeros in float32."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [end, end + size],
        }
        end += size
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(end))


def make_folder(
    folder: Path, tokenizer: str = "", *, rows: int = 400, **config: Any
) -> Path:
    """A folder that is accepted as a base; a test then damages it."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(plain))
    (folder / "tokenizer.json").write_text(tokenizer or byte_level(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": {"content": "</s>"}, "bos_token": "<s>"})
    )
    shapes = {"model.embed_tokens.weight": [rows, WIDTH], "model.norm.weight": [WIDTH]}
    write_weights(folder / "model.safetensors", shapes)
    return folder
