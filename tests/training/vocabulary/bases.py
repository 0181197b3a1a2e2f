"""Tokenizers of both kinds for the tests of the vocabulary."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.training import tiny
from training.spec import ExtendVocabulary
from training.vocabulary.extension import Extension, extend

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SETTINGS = ExtendVocabulary(new_tokens=120, minimum_occurrences=4)


@cache
def byte_level() -> Tokenizer:
    """GPT-2's kind, trained on the made-up Latin language."""
    return tiny.tokenizer(tiny.documents(80, script="latin")).backend_tokenizer


@cache
def llama3() -> Tokenizer:
    """Llama 3's kind: its pattern, whole words looked up first, special ids at the end.

    The special tokens stand outside of the model's own vocabulary, with a gap before.
    """
    plain = json.loads(byte_level().to_str())
    names = [added["content"] for added in plain["added_tokens"]]
    old = plain["model"]["vocab"]
    kept = [piece for piece in sorted(old, key=old.get) if piece not in names]
    plain["model"]["vocab"] = {piece: id_ for id_, piece in enumerate(kept)}
    plain["model"]["ignore_merges"] = True
    for number, added in enumerate(plain["added_tokens"]):
        added["id"] = len(kept) + number
    plain["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": LLAMA3_PATTERN},
                "behavior": "Isolated",
                "invert": False,
            },
            {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": False,
            },
        ],
    }
    return Tokenizer.from_str(json.dumps(plain))


@cache
def sentencepiece(*, metaspace: bool = False, byte_fallback: bool = True) -> Tokenizer:
    """Llama 2's kind: the space as U+2581, by normaliser or by pre-tokeniser."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    if byte_fallback:
        special += [f"<0x{byte:02X}>" for byte in range(256)]
    trained.train_from_iterator(
        tiny.documents(80, script="latin"),
        trainers.BpeTrainer(
            vocab_size=len(special) + 80, special_tokens=special, show_progress=False
        ),
    )
    plain = json.loads(trained.to_str())
    plain["added_tokens"] = plain["added_tokens"][:3]
    plain["model"].update(byte_fallback=byte_fallback, fuse_unk=True)
    if not metaspace:
        plain["pre_tokenizer"] = None
        plain["normalizer"] = {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            ],
        }
    else:
        plain["pre_tokenizer"]["split"] = False
    plain["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    return Tokenizer.from_str(json.dumps(plain))


@cache
def unigram(*, byte_fallback: bool = True) -> Tokenizer:
    """XLM-R's and T5's kind: the likeliest pieces, scores instead of merges."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    trained.train_from_iterator(
        tiny.documents(80, script="latin"),
        trainers.UnigramTrainer(
            vocab_size=120,
            special_tokens=special,
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    plain = json.loads(trained.to_str())
    if byte_fallback:
        pieces = plain["model"]["vocab"]
        tail = [[f"<0x{byte:02X}>", 0.0] for byte in range(256)]
        plain["model"].update(vocab=pieces[:3] + tail + pieces[3:], byte_fallback=True)
    plain["decoder"] = json.loads(sentencepiece().to_str())["decoder"]
    return Tokenizer.from_str(json.dumps(plain))


def unigram_of_file(path: Path) -> Tokenizer:
    """A SentencePiece Unigram file as a tokenizers JSON."""
    import sentencepiece as spm

    model = spm.SentencePieceProcessor(model_file=str(path))
    plain = json.loads(unigram(byte_fallback=False).to_str())
    plain["model"]["vocab"] = [
        [model.id_to_piece(i), model.get_score(i)]
        for i in range(model.get_piece_size())
    ]
    return Tokenizer.from_str(json.dumps(plain))


BASES = {
    "byte_level": byte_level,
    "llama3": llama3,
    "sentencepiece": sentencepiece,
    "metaspace": lambda: sentencepiece(metaspace=True),
}


@cache
def extended(kind: str, script: str) -> Extension:
    """One of the bases, extended for a made-up language."""
    texts = tiny.documents(120, script=script)
    return extend(BASES[kind](), lambda: iter(texts), SETTINGS)


def mistral(path: Path) -> Tokenizer:
    """Mistral's SentencePiece file as a tokenizers JSON, merges by score."""
    import sentencepiece as spm

    model = spm.SentencePieceProcessor(model_file=str(path))
    vocabulary = {model.id_to_piece(i): i for i in range(model.get_piece_size())}
    merges = []
    for piece, id_ in vocabulary.items():
        if model.is_byte(id_) or model.is_control(id_) or model.is_unknown(id_):
            continue
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                merges.append((-model.get_score(id_), id_, len(merges), left, right))
    plain = json.loads(sentencepiece().to_str())
    plain["model"]["vocab"] = vocabulary
    plain["model"]["merges"] = [[left, right] for *_, left, right in sorted(merges)]
    return Tokenizer.from_str(json.dumps(plain))
