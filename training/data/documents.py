"""Translations, interlinear text and instructions as plain documents to read.

Everything is a row {"text", "language", ["chat"]} as training/data/tokens.py reads them,
and follows from the rows and the seed alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from training.data.conversations import as_messages
from training.data.pairs import Pair, read_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Row = dict[str, Any]


def parallel_documents(rows: Iterable[Row]) -> Iterator[Row]:
    """Each pair twice, "source LINE END target" and the other way round.

    Fujii et al. 2024 (Swallow) and Ji et al. 2024 (EMMA-500): bilingual text as plain
    documents in continued pretraining helps translation.
    """
    for pair in read_pairs(rows):
        for texts in (pair.texts, pair.texts[::-1]):
            yield {"text": "\n".join(texts), "language": _names(pair)}


def interlinear_documents(
    rows: Iterable[Row], *, characters: int, seed: int
) -> Iterator[Row]:
    """Neighbouring pairs as one text that alternates sentence by sentence.

    Guo et al. 2024 ("A Novel Paradigm Boosting Translation Capabilities of Large
    Language Models"): the second of three stages. A document has about `characters`
    characters; which language comes first follows from its text and the seed.
    """
    for _, pairs in groupby(read_pairs(rows), key=lambda pair: pair.languages):
        held: list[Pair] = []
        size = 0
        for pair in pairs:
            held.append(pair)
            size += sum(map(len, pair.texts)) + 2
            if size >= characters:
                yield _interlinear(held, seed)
                held, size = [], 0
        if held:
            yield _interlinear(held, seed)


def _interlinear(pairs: list[Pair], seed: int) -> Row:
    turn = 1 if _bit(pairs[0].texts[0], seed) else -1
    lines = [text for pair in pairs for text in pair.texts[::turn]]
    return {"text": "\n".join(lines), "language": _names(pairs[0])}


def instruction_documents(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerFast | None = None
) -> Iterator[Row]:
    """Questions and answers as text to read; unreadable rows are left out.

    With a tokenizer its chat template writes them, else turns stand one after the other
    with an empty line between. Mixed into pretraining in Llammas (Kuulmets et al. 2024),
    EstLLM and MAFT-like multitask mixtures.
    """
    from jinja2 import TemplateError

    from training.templates import render_text, without_markers

    for row in rows:
        turns = as_messages(row)
        if turns is None:
            continue
        if tokenizer is None:
            yield {"text": "\n\n".join(t["content"] for t in turns), "language": ""}
            continue
        try:
            text = render_text(tokenizer, without_markers(tokenizer, turns))
        except TemplateError:  # the template refuses these turns
            continue
        begin = tokenizer.bos_token or ""
        # The packer puts the token before a text.
        yield {"text": text.removeprefix(begin), "language": "", "chat": True}


def _names(pair: Pair) -> str:
    return "-".join(sorted(pair.languages))


def _bit(text: str, seed: int) -> int:
    key = str(seed).encode()
    return hashlib.blake2b(text.encode(), digest_size=1, key=key).digest()[0] & 1
