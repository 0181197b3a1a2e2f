"""Append the pieces of a vocabulary trained on the target language alone.

What Chinese-LLaMA, SambaLingo, MaLA-500 and others did with SentencePiece: train a
vocabulary of the language, add every piece the base lacks. Here the new pieces come
*below* all old ones. With score 0, as first published, they outrank them: a third of the
base's own words is then cut otherwise where the scripts are the same.

The vocabulary is trained on characters and written into byte-level tokenizers too, with
the steps from byte to character. A BPE piece gets a merge for each way to cut it into two
known pieces, which is what SentencePiece's scores amount to. A piece that its own text
would not give is left out and the next one taken.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from tokenizers import Tokenizer

from training.errors import BaseUnsuitable, TokenizerMismatch
from training.spec import ExtendVocabulary
from training.vocabulary import counting, extension, pre_tokenizer, target_bpe
from training.vocabulary.change import Change, Texts, fires, unreachable
from training.vocabulary.extension import NewToken
from training.vocabulary.pieces import (
    SPACE_MARKER,
    PieceForm,
    is_wanted,
    is_wanted_character,
)

KINDS = ("BPE", "Unigram")
# The first vocabulary trained is so many times larger than what is asked for: the base
# has some of its pieces already. If that is not enough it is trained larger again.
SPARE = 3
# New Unigram pieces share one unit of log-probability below the lowest old score: by
# their order, and never so low that two other pieces are likelier than one of them.
SCORE_SPAN = 1.0


def append(
    backend: Tokenizer,
    texts: Texts,
    settings: ExtendVocabulary,
    *,
    change_pattern: bool = True,
) -> Change:
    """Train on the texts, append what is missing; figures: {"left_out_unreachable"}.

    Raises BaseUnsuitable for other kinds than BPE and Unigram, ScriptUnreadable for text
    that the tokenizer would lose.
    """
    plain = json.loads(backend.to_str())
    form = PieceForm(plain, KINDS)
    characters = counting.count_characters(texts())
    extension.refuse_unreadable(extension.unreadable_share(backend, characters))
    wider, marks = pre_tokenizer.keep_marks(
        plain, characters, settings.minimum_occurrences
    )
    if marks and change_pattern:
        plain = wider
        backend = Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))
    words = counting.count_words(backend, form, texts())
    unigram = plain["model"]["type"] == "Unigram"
    append_to = _append_to_unigram if unigram else _append_to_bpe
    made, tokens, left_out = append_to(plain, form, words, settings)
    counts = fires(made, words)
    backend = Tokenizer.from_str(json.dumps(made, ensure_ascii=False))
    check_ids(plain, backend)
    old = counting.model_alone(plain)
    return Change(
        backend,
        [
            NewToken(
                id=id_,
                piece=piece,
                text=form.as_text(piece),
                occurrences=counts[id_],
                parts=parts,
                base_ids=tuple(old.encode(piece, add_special_tokens=False).ids),
            )
            for piece, id_, parts in tokens
        ],
        marks=marks if change_pattern else "",
        marks_cut=bool(marks) and not change_pattern,
        figures={"left_out_unreachable": left_out},
    )


Pair = tuple[str, str]
Appended = tuple[dict[str, Any], list[tuple[str, int, tuple[int, ...]]], int]


def as_characters(words: Counter[str], form: PieceForm) -> Counter[str]:
    """The words with a letter for each character, where they have one for each byte:
    SentencePiece's pieces are made of characters."""
    if not form.byte_level:
        return words
    texts: Counter[str] = Counter()
    for word, count in words.items():
        text = form.as_text(word)
        if text is not None:
            texts[text] += count
    return texts


def frequent_characters(words: Counter[str], least: int) -> list[str]:
    """Characters of the words that may be pieces, the most frequent first."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    return [
        character
        for character, count in counts.most_common()
        if count >= least and is_wanted_character(character)
    ]


def candidates(
    words: Counter[str], form: PieceForm, settings: ExtendVocabulary
) -> Iterator[str]:
    """Pieces (internal form) of a BPE trained on the words, the most useful first.

    They end where no other pair of pieces is frequent enough.
    """
    size, seen = SPARE * settings.new_tokens, 0
    while True:
        merges = target_bpe.train(
            words,
            pieces=size,
            least=settings.minimum_occurrences,
            longest=settings.maximum_characters,
        )
        for left, right in merges[seen:]:
            text = (left + right).replace(SPACE_MARKER, " ")
            if is_wanted(text, settings.maximum_characters):
                yield form.internal(text)
        if len(merges) < size:
            return
        seen, size = len(merges), 2 * size


def _append_to_bpe(
    plain: dict[str, Any],
    form: PieceForm,
    words: Counter[str],
    settings: ExtendVocabulary,
) -> Appended:
    vocabulary = dict(plain["model"]["vocab"])
    for added in plain["added_tokens"]:
        vocabulary.setdefault(added["content"], added["id"])
    words = as_characters(words, form)
    characters = [
        form.internal(character)
        for character in frequent_characters(words, settings.minimum_occurrences)
        if form.internal(character) not in vocabulary
    ]
    chosen = Chosen(plain, form, settings.new_tokens)
    chosen.take_characters(characters)
    left_out = 0
    for piece in candidates(words, form, settings):
        if chosen.is_full():
            break
        if piece not in vocabulary and piece not in chosen.pieces:
            left_out += not chosen.take(piece)
    merges = list(plain["model"]["merges"])
    tokens: list[tuple[str, int, tuple[int, ...]]] = []
    first = counting.highest_id(plain) + 1
    for number, (piece, splits) in enumerate(chosen.pieces.items()):
        vocabulary[piece] = first + number
        merges += [list(split) for split in splits]
        parts = tuple(vocabulary[part] for part in splits[0]) if splits else ()
        tokens.append((piece, first + number, parts))
    model = {**plain["model"], "vocab": vocabulary, "merges": merges}
    return {**plain, "model": model}, tokens, left_out


class Chosen:
    """Pieces taken so far with the ways to cut each in two, the way it is made first.

    Whether a piece would be given by its own text is found by doing to it what the
    tokenizer will do: first all old merges, then those of the pieces taken before.
    """

    def __init__(self, plain: dict[str, Any], form: PieceForm, most: int) -> None:
        self.form, self.most = form, most
        self.plain = {**plain, "model": {**plain["model"], "ignore_merges": False}}
        self.alone = counting.word_tokenizer(self.plain)
        fixed = {added["content"] for added in plain["added_tokens"]}
        fixed.add(plain["model"].get("unk_token") or "")
        self.known = set(plain["model"]["vocab"]) - fixed
        self.pieces: dict[str, list[Pair]] = {}
        self.ranks: dict[Pair, int] = {}

    def is_full(self) -> bool:
        """Whether there are as many pieces as were asked for."""
        return len(self.pieces) >= self.most

    def take_characters(self, characters: Sequence[str]) -> None:
        """Add characters; on a byte-level tokenizer with the steps from byte to byte."""
        if not self.form.byte_level:
            characters = characters[: self.most]
            self.pieces.update((character, []) for character in characters)
            self.known.update(characters)
            self.alone = counting.word_tokenizer(self.plain, characters)
            return
        for character in characters:
            parts = self.cut(character)
            steps = ["".join(parts[:end]) for end in range(2, len(parts) + 1)]
            if len(self.pieces) + len(steps) <= self.most:
                for step in steps:
                    self.take(step)

    def take(self, piece: str) -> bool:
        """Add a piece and its merges; False where its own text would not give it."""
        parts = self.cut(piece)
        if len(parts) != 2 or "".join(parts) != piece or piece in self.known:
            return False
        made = (parts[0], parts[1])
        others = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
        self.pieces[piece] = [made] + [
            split
            for split in others
            if split != made and split[0] in self.known and split[1] in self.known
        ]
        self.known.add(piece)
        for split in self.pieces[piece]:
            self.ranks[split] = len(self.ranks)
        return True

    def cut(self, piece: str) -> list[str]:
        """A piece as the pieces that there are now."""
        parts = list(self.alone.encode(piece, add_special_tokens=False).tokens)
        last = len(self.ranks)
        while len(parts) > 1:
            pairs = zip(parts, parts[1:], strict=False)
            ranked = [(self.ranks.get(pair, last), at) for at, pair in enumerate(pairs)]
            rank, at = min(ranked)
            if rank == last:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return parts


def _append_to_unigram(
    plain: dict[str, Any],
    form: PieceForm,
    words: Counter[str],
    settings: ExtendVocabulary,
) -> Appended:
    """Pieces below the lowest score. A text is cut by the sum of all scores, so that
    dead pieces (those too that the words never give) are found by trying, and the next
    ones tried in their place."""
    old = _with_added(plain)
    taken = {piece for piece, _ in old}
    lowest = min(score for _, score in old)
    step = SCORE_SPAN / max(settings.new_tokens, 1)
    characters = frequent_characters(words, settings.minimum_occurrences)
    chosen = [c for c in characters if c not in taken][: settings.new_tokens]
    more = (p for p in candidates(words, form, settings) if p not in taken)
    left_out = 0
    while True:
        chosen += islice(more, settings.new_tokens - len(chosen))
        new = [[p, lowest - step * (i + 1)] for i, p in enumerate(chosen)]
        model = {**plain["model"], "vocab": [*old, *new]}
        made = {**plain, "model": model}
        ids = {piece: len(old) + place for place, piece in enumerate(chosen)}
        counts = fires(made, words)
        dead = set(unreachable(Tokenizer.from_str(json.dumps(made)), ids))
        dead.update(piece for piece, id_ in ids.items() if not counts[id_])
        if not dead:
            return made, [(piece, id_, ()) for piece, id_ in ids.items()], left_out
        left_out += len(dead)
        chosen = [piece for piece in chosen if piece not in dead]


def _with_added(plain: dict[str, Any]) -> list[list[Any]]:
    """A Unigram vocabulary with the added tokens that stand behind it: a piece's id is
    its place. Raises BaseUnsuitable where ids are missing between."""
    vocabulary = [list(piece) for piece in plain["model"]["vocab"]]
    lowest = min(score for _, score in vocabulary)
    for added in sorted(plain["added_tokens"], key=lambda added: added["id"]):
        if added["id"] == len(vocabulary):
            vocabulary.append([added["content"], lowest])
        elif added["id"] > len(vocabulary):
            raise BaseUnsuitable(
                "The base model's tokenizer has ids that no piece has, and pieces "
                "cannot be added behind them.",
                hint="Keep the tokenizer as it is, or choose another base model.",
            )
    return vocabulary


def check_ids(plain: dict[str, Any], backend: Tokenizer) -> None:
    """Raise TokenizerMismatch where an old piece or special token has another id."""
    old = Tokenizer.from_str(json.dumps(plain, ensure_ascii=False)).get_vocab()
    new = backend.get_vocab()
    moved = [piece for piece, id_ in old.items() if new.get(piece) != id_]
    if moved:
        raise TokenizerMismatch(
            f"{len(moved)} old pieces would get other ids, the first is {moved[0]!r}.",
            hint="Keep the tokenizer as it is, or choose another base model.",
        )
