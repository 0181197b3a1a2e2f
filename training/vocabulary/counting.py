"""Count the words of a corpus as the base tokenizer's own pieces.

The normaliser and pre-tokeniser are the tokenizer's; its merges cut each different word
once. Documents are streamed: what is kept is one entry for each different word, and of
those no more than MOST_WORDS.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from tokenizers import Tokenizer, models, trainers

from training.vocabulary.pieces import SPACE_MARKER, PieceForm

# A SentencePiece model may take a whole text as one word. A piece has its space in front
# and never a line's end inside, so that text can be cut there; scripts without spaces
# are cut after so many characters, which hides one pair in a hundred.
LONGEST_WORD = 100
MARKED_WORDS = re.compile(rf"{SPACE_MARKER}*[^{SPACE_MARKER}\n]{{1,{LONGEST_WORD}}}")
# A byte-level pre-token (a Thai sentence) is cut after so many pieces.
LONGEST_SEQUENCE = 256
# A longer text is counted in parts, cut at a space where there is one: the tokenizer
# keeps some hundred bytes for each character of a text at work.
LONGEST_TEXT = 100_000
# Texts are counted in blocks of about so many characters.
BLOCK_CHARACTERS = 4_000_000
# Beyond this many different words the rarest are forgotten (see WordCounts).
MOST_WORDS = 1_000_000
TOGETHER = 20_000

Sequence = tuple[int, ...]


def count_characters(texts: Iterable[str]) -> Counter[str]:
    """How often each character occurs."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(text)
    return found


def count_characters_by_language(
    texts: Iterable[tuple[str, str]],
) -> dict[str, Counter[str]]:
    """The same for (language, text), each language by itself."""
    found: dict[str, Counter[str]] = {}
    for language, text in texts:
        found.setdefault(language, Counter()).update(text)
    return found


class WordCounts:
    """Words by language and how often each occurs, in bounded memory.

    Where there are more than `most` different words, those of the language with the most
    are halved: the rarest go, and the count of the most frequent of these is added to
    `missed[language]`. So count <= true count <= count + missed, for every word (the
    bound of lossy counting, Manku and Motwani 2002; here the threshold follows from the
    memory, not from a share of the text).
    """

    def __init__(self, most: int = MOST_WORDS) -> None:
        self.most = most
        self.words: dict[str, Counter[str]] = {}
        self.missed: Counter[str] = Counter()
        self.different = 0

    def add(self, language: str, counts: Mapping[str, int]) -> None:
        """Add the words of some text."""
        words = self.words.setdefault(language, Counter())
        before = len(words)
        words.update(counts)
        self.different += len(words) - before
        while self.different > self.most:
            self._halve(max(self.words, key=lambda name: len(self.words[name])))

    def _halve(self, language: str) -> None:
        words = self.words[language]
        ordered = sorted(words.values())
        threshold = ordered[(len(ordered) - 1) // 2]
        kept = {word: count for word, count in words.items() if count > threshold}
        self.words[language] = Counter(kept)
        self.missed[language] += threshold
        self.different -= len(words) - len(kept)


def count_words(
    backend: Tokenizer, form: PieceForm, texts: Iterable[str]
) -> Counter[str]:
    """Different pre-tokens in their internal form, and how often each occurs."""
    counts = count_by_language(backend, form, (("", text) for text in texts))
    return counts.words.get("", Counter())


def count_by_language(
    backend: Tokenizer,
    form: PieceForm,
    texts: Iterable[tuple[str, str]],
    most: int = MOST_WORDS,
) -> WordCounts:
    """The same for (language, text), each language by itself."""
    counts = WordCounts(most)
    count = block_counter(backend, form)
    waiting: dict[str, list[str]] = {}
    characters = 0
    for language, text in texts:
        waiting.setdefault(language, []).extend(_parts(text))
        characters += len(text)
        if characters >= BLOCK_CHARACTERS:
            for name, block in waiting.items():
                counts.add(name, count(block))
            waiting, characters = {}, 0
    for name, block in waiting.items():
        counts.add(name, count(block))
    return counts


def _parts(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > LONGEST_TEXT:
        end = start + LONGEST_TEXT
        space = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
        end = space if space > start else end
        yield text[start:end]
        start = end
    yield text[start:]


def block_counter(
    backend: Tokenizer, form: PieceForm
) -> Callable[[Iterable[str]], Mapping[str, int]]:
    """A function that counts the words of a block of texts.

    A byte-level pattern takes most of the time of a whole extension, so it runs on all
    cores: a trainer of the tokenizers library counts words before it merges any, one
    that is allowed no alphabet and no vocabulary does nothing else, and its saved state
    holds the counts. Where a release does not save them `count_plainly` gives the same;
    for SentencePiece's simple words it is as quick.
    """
    if not form.byte_level:
        return partial(count_plainly, backend, form)
    counter = Tokenizer(models.BPE())
    if backend.normalizer:
        counter.normalizer = backend.normalizer
    if backend.pre_tokenizer:
        counter.pre_tokenizer = backend.pre_tokenizer

    def count(texts: Iterable[str]) -> Mapping[str, int]:
        texts = list(texts)
        trainer = trainers.BpeTrainer(
            vocab_size=0, limit_alphabet=0, show_progress=False
        )
        counter.train_from_iterator(texts, trainer)
        words = json.loads(trainer.__getstate__()).get("BpeTrainer", {}).get("words")
        if isinstance(words, dict):
            return words
        return count_plainly(backend, form, texts)

    return count


def count_plainly(
    backend: Tokenizer, form: PieceForm, texts: Iterable[str]
) -> Counter[str]:
    """The definition of what `block_counter` counts, one text after another."""
    words: Counter[str] = Counter()
    normalise = backend.normalizer.normalize_str if backend.normalizer else str
    before = backend.pre_tokenizer
    for text in texts:
        text = normalise(text)
        parts = before.pre_tokenize_str(text) if before else [(text, None)]
        for part, _ in parts:
            words.update([part] if form.byte_level else MARKED_WORDS.findall(part))
    return words


def word_tokenizer(plain: dict[str, Any], characters: Iterable[str] = ()) -> Tokenizer:
    """The model alone, with `characters` added under the ids after the highest one.

    `plain` is a tokenizer.json.
    """
    vocabulary = plain["model"]["vocab"]
    following = highest_id(plain) + 1
    added = {character: id_ for id_, character in enumerate(characters, following)}
    if added:
        model = {**plain["model"], "vocab": {**vocabulary, **added}}
        plain = {**plain, "model": model}
    return model_alone(plain)


def model_alone(plain: dict[str, Any], *, by_merges: bool = False) -> Tokenizer:
    """The model (BPE or Unigram) fed the internal form: nothing around it.

    `by_merges`: without the short cut `ignore_merges`, which hides dead pieces.
    """
    model = {**plain["model"], "dropout": None}
    if by_merges and model["type"] == "BPE":
        model["ignore_merges"] = False
    empty = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    bare = {
        "version": "1.0",
        "model": model,
        "added_tokens": [],
        **dict.fromkeys((*empty, "truncation", "padding")),
    }
    return Tokenizer.from_str(json.dumps(bare, ensure_ascii=False))


def highest_id(plain: dict[str, Any]) -> int:
    """The highest id of the vocabulary and of the added tokens."""
    ids = [added["id"] for added in plain["added_tokens"]]
    return max([*plain["model"]["vocab"].values(), *ids])


def segment(
    words: Mapping[str, int],
    tokenizer: Tokenizer,
    can_join: Callable[[int, int], bool],
    *,
    apart: Counter[Sequence] | None = None,
    least_pieces: int = 2,
) -> Counter[Sequence]:
    """Words as sequences of ids, cut where no new piece may ever reach across.

    The cut is after the base's merges, so that it changes none of them, and makes
    "word," and "word." one sequence. `apart` gets the pairs that were cut, with their
    occurrences; sequences of fewer than `least_pieces` are left out.
    """
    sequences: Counter[Sequence] = Counter()
    joins: dict[Sequence, bool] = {}
    # One object for each number: otherwise every piece of every word has its own.
    same: dict[int, int] = {}
    items = iter(words.items())
    while batch := list(islice(items, TOGETHER)):
        encoded = tokenizer.encode_batch_fast(
            [word for word, _ in batch], add_special_tokens=False
        )
        for (_, count), encoding in zip(batch, encoded, strict=True):
            ids = [same.setdefault(id_, id_) for id_ in encoding.ids]
            start = 0
            for at in range(1, len(ids)):
                pair = (ids[at - 1], ids[at])
                joined = joins.get(pair)
                if joined is None:
                    joined = joins[pair] = can_join(*pair)
                if not joined and apart is not None:
                    apart[pair] += count
                if not joined or at - start >= LONGEST_SEQUENCE:
                    if at - start >= least_pieces:
                        sequences[tuple(ids[start:at])] += count
                    start = at
            if len(ids) - start >= least_pieces:
                sequences[tuple(ids[start:])] += count
    return sequences
