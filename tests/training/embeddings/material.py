"""A made-up language pair with everything that a method may need.

The base knows the Latin language only; every word of the Cyrillic one translates one
Latin word, and sentences translate word by word.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from tests.training import tiny
from tests.training.vocabulary import bases
from training.embeddings import Request
from training.vocabulary.append import append
from training.vocabulary.change import Change
from training.vocabulary.extension import Extension, extend


@cache
def lexicon() -> list[tuple[str, str]]:
    """60 (Latin word, Cyrillic word)."""
    order = random.Random(5)
    latin, cyrillic = tiny.SYLLABLES["latin"], tiny.SYLLABLES["cyrillic"]
    one = dict.fromkeys("".join(order.choices(latin, k=3)) for _ in range(90))
    two = dict.fromkeys("".join(order.choices(cyrillic, k=3)) for _ in range(90))
    return list(zip(one, two, strict=False))[:60]


@cache
def pairs() -> list[tuple[str, str]]:
    """300 sentences of 5 to 9 words and their translations, in the same order."""
    order = random.Random(7)
    chosen = [order.choices(lexicon(), k=order.randint(5, 9)) for _ in range(300)]
    return [
        (" ".join(a for a, _ in row), " ".join(b for _, b in row)) for row in chosen
    ]


@cache
def extension(kind: str = "byte_level") -> Extension | Change:
    """One of the bases of the vocabulary's tests, extended for the Cyrillic language."""
    texts = [two for _, two in pairs()]
    if kind == "unigram":
        return append(bases.unigram(), lambda: iter(texts), bases.SETTINGS)
    return extend(bases.BASES[kind](), lambda: iter(texts), bases.SETTINGS)


def base(kind: str) -> Tokenizer:
    """The tokenizer before."""
    return bases.unigram() if kind == "unigram" else bases.BASES[kind]()


def donor(folder: Path) -> Path:
    """A model whose tokenizer knows both languages."""
    texts = [text for pair in pairs() for text in pair]
    words = tiny.tokenizer(texts, size=420)
    words.save_pretrained(folder)
    tiny.model(len(words), seed=9).save_pretrained(folder)
    return folder


def request(method: str, kind: str = "byte_level", **fields: Any) -> Request:
    """A request with texts, pairs and dictionary."""
    old = base(kind)
    made = extension(kind)
    values: dict[str, Any] = {
        "tokens": made.tokens,
        "old": old,
        "new": made.backend,
        # Names and full stops: old tokens that occur in the new language's text.
        "target_texts": lambda: [f"{two} {one.split()[0]}." for one, two in pairs()],
        "base_texts": lambda: [one for one, _ in pairs()],
        "pairs": pairs,
        "dictionary": lexicon,
        **fields,
    }
    return Request(method=method, **values)


def model(
    kind: str = "byte_level", *, tied: bool = True, extra: int = 0
) -> torch.nn.Module:
    """A model with a row for each id of the base, and `extra` padding rows."""
    highest = max(base(kind).get_vocab().values())
    return tiny.model(highest + 1 + extra, tied=tied)


def replaced(new: Tokenizer, kept: dict[int, int], **fields: Any) -> dict[str, Any]:
    """Fields of a request for another tokenizer; tokens it cuts by the base's."""
    from training.vocabulary.extension import NewToken

    old = bases.byte_level()
    tokens = []
    for piece, id_ in sorted(new.get_vocab().items(), key=lambda item: item[1]):
        if id_ not in kept:
            text = new.decode([id_], skip_special_tokens=False)
            ids: Sequence[int] = old.encode(text, add_special_tokens=False).ids
            tokens.append(NewToken(id_, piece, text, 9, (), tuple(ids)))
    return {"tokens": tokens, "new": new, "kept": kept, **fields}
