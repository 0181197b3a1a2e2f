"""BPE-dropout: the same text cut in other ways, so that pieces are known by their parts.

Provilkov et al. 2020 ("BPE-Dropout: Simple and Effective Subword Regularization"): while
a word is built, each possible merge is left out with a probability. Sailor (Dou et al.
2024) reads its text so, with 0.1, against being thrown by a prompt that ends inside a
word. The tokenizers library draws from a generator that cannot be given a seed; here the
cut follows from the text and the seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from training.errors import BaseUnsuitable
from training.vocabulary.pieces import SPACE_MARKER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Merge = tuple[int, int]


class Dropout:
    """The merges of a tokenizer, applied with a probability of leaving each out.

    Raises BaseUnsuitable for a tokenizer that is no BPE.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, share: float, seed: int
    ) -> None:
        model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
        if model.get("type") != "BPE":
            raise BaseUnsuitable(
                "BPE-dropout needs a tokenizer made of merges, and the base's has none.",
                hint="Set BPE-dropout to 0, or choose another base.",
            )
        vocabulary = model["vocab"]
        self.tokenizer = tokenizer
        self.share = share
        self.seed = seed
        self.merges: dict[Merge, tuple[int, int]] = {}
        self.parts: dict[int, Merge] = {}
        for rank, merge in enumerate(model["merges"]):
            first, second = merge.split(" ") if isinstance(merge, str) else merge
            pair = vocabulary[first], vocabulary[second]
            made = vocabulary[first + second]
            self.merges.setdefault(pair, (rank, made))
            self.parts.setdefault(made, pair)
        self.begins_word = frozenset(
            id_ for piece, id_ in vocabulary.items() if piece.startswith(SPACE_MARKER)
        )
        self.leaves_of: dict[int, tuple[int, ...]] = {}

    def encode(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Ids of texts, nothing added; what looks like a special token is plain text."""
        made = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            verbose=False,
        )
        for text, encoding in zip(texts, made.encodings, strict=True):
            dice = random.Random(f"{self.seed} {text}")  # noqa: S311 - no secret
            found: list[int] = []
            for word in self._words(encoding.ids, encoding.word_ids):
                found += self.cut(word, dice)
            yield found

    def cut(self, word: Sequence[int], dice: random.Random) -> list[int]:
        """A word, given as any of its cuts, built again from its smallest parts."""
        ids = [leaf for id_ in word for leaf in self.leaves(id_)]
        while len(ids) > 1:
            ranks = [
                (self.merges[pair][0], place)
                for place, pair in enumerate(zip(ids, ids[1:], strict=False))
                if pair in self.merges and dice.random() >= self.share
            ]
            if not ranks:
                break
            _, place = min(ranks)
            ids[place : place + 2] = [self.merges[ids[place], ids[place + 1]][1]]
        return ids

    def leaves(self, id_: int) -> tuple[int, ...]:
        """What a token is merged from: characters or bytes."""
        if id_ not in self.leaves_of:
            parts = self.parts.get(id_)
            self.leaves_of[id_] = (
                (*self.leaves(parts[0]), *self.leaves(parts[1])) if parts else (id_,)
            )
        return self.leaves_of[id_]

    def _words(
        self, ids: Sequence[int], words: Sequence[int | None]
    ) -> Iterator[list[int]]:
        """Ids word by word. A SentencePiece tokenizer may take a text as one word: a
        piece that begins with a space begins one too."""
        word: list[int] = []
        last: int | None = None
        for id_, number in zip(ids, words, strict=True):
            if word and (number != last or id_ in self.begins_word):
                yield word
                word = []
            word.append(id_)
            last = number
        if word:
            yield word
