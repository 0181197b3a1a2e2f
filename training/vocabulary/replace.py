"""A new tokenizer of the same kind, trained on the target's and the protected text.

ChocoLlama (Meeus et al. 2024) and ruadapt (Tikhomirov and Chernyshev 2024) trained one
and gave it to the old model. Everything around the vocabulary is the base's: normaliser,
pre-tokeniser, decoder, post-processor, special and added tokens under their ids, bytes.
So are the pieces of digits and of white space, with their merges, for numbers cut in
another way have cost models their arithmetic. A string that both vocabularies have
keeps its row.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from typing import Any

from tokenizers import Tokenizer

from training.spec import ExtendVocabulary
from training.vocabulary import counting, extension, pre_tokenizer, target_bpe
from training.vocabulary.change import (
    Change,
    Texts,
    compact,
    fires,
    renumber,
    unreachable,
)
from training.vocabulary.extension import NewToken
from training.vocabulary.pieces import PieceForm, byte_letters, is_wanted_character

Pair = tuple[str, str]
# Carried over whatever the text: runs of digits and white space, mixed or alone.
NUMBERS_AND_SPACE = re.compile(r"[0-9 \t\n\r]+")
# A longest piece is given in characters, the letters of a byte-level word are bytes.
BYTES_OF_CHARACTER = 4


def replace(
    backend: Tokenizer,
    texts: Texts,
    protected: Texts,
    settings: ExtendVocabulary,
    fixed: Collection[int] = (),
    *,
    change_pattern: bool = True,
) -> Change:
    """Train on both texts; figures: {"carried_over", "left_out_unreachable"}.

    `fixed` are ids that stay although they are no added tokens. Raises BaseUnsuitable
    for a tokenizer that is no BPE, ScriptUnreadable where the new one still loses text:
    pieces only exist for characters that are frequent enough.
    """
    plain = json.loads(backend.to_str())
    form = PieceForm(plain)
    characters = counting.count_characters(texts())
    wider, marks = pre_tokenizer.keep_marks(
        plain, characters, settings.minimum_occurrences
    )
    if marks and change_pattern:
        plain = wider
        backend = Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))
    words = mixed(
        counting.count_words(backend, form, texts()),
        counting.count_words(backend, form, protected()),
        settings.protected_share,
    )
    replacement = Replacement(plain, form, words, settings, fixed)
    made = replacement.backend
    extension.refuse_unreadable(extension.unreadable_share(made, characters))
    return Change(
        made,
        replacement.tokens(),
        kept=replacement.kept,
        marks=marks if change_pattern else "",
        marks_cut=bool(marks) and not change_pattern,
        figures={
            "carried_over": len(replacement.kept),
            "left_out_unreachable": replacement.left_out,
        },
    )


def mixed(target: Counter[str], protected: Counter[str], share: float) -> Counter[str]:
    """Counts of both, the protected ones brought to `share` of all occurrences.

    Nothing is counted less than it occurs in the target; without protected text the
    target's counts.
    """
    if not protected or not share:
        return target
    factor = share / (1 - share) * target.total() / protected.total()
    counts = Counter(target)
    for word, count in protected.items():
        counts[word] += round(count * factor)
    return +counts


class Replacement:
    """The new vocabulary in its final ids."""

    def __init__(
        self,
        plain: dict[str, Any],
        form: PieceForm,
        words: Counter[str],
        settings: ExtendVocabulary,
        fixed: Collection[int] = (),
    ) -> None:
        self.plain, self.form, self.words = plain, form, words
        self.old: dict[str, int] = dict(plain["model"]["vocab"])
        for added in plain["added_tokens"]:
            self.old.setdefault(added["content"], added["id"])
        self.fixed = {added["content"] for added in plain["added_tokens"]}
        self.fixed.add(plain["model"].get("unk_token") or "")
        self.fixed.update(piece for piece, id_ in self.old.items() if id_ in set(fixed))
        self.fixed &= set(self.old)
        size = settings.vocabulary_size or len(self.old)
        carried, merges = self._carried()
        letters = self._letters(settings.minimum_occurrences) - carried
        start = self.fixed | carried | letters
        trained = target_bpe.train(
            self._parts(carried | letters),
            pieces=max(size - len(start), 0),
            least=settings.minimum_occurrences,
            longest=settings.maximum_characters
            * (BYTES_OF_CHARACTER if form.byte_level else 1),
        )
        # A name that is special is never a piece, however frequent.
        trained = [pair for pair in trained if "".join(pair) not in self.fixed]
        self.merges, self.left_out = self._reachable(start, merges + trained)
        made = ["".join(pair) for pair in self.merges]
        pieces = list(dict.fromkeys([*sorted(start, key=self._order), *made]))
        kept = sorted((p for p in pieces if p in self.old), key=self._order)
        self.new = [piece for piece in pieces if piece not in self.old]
        ids = {p: self.old[p] for p in kept}
        beyond = max(self.old.values()) + 1
        ids |= {piece: beyond + place for place, piece in enumerate(self.new)}
        numbering = compact(ids.values(), (self.old[p] for p in self.fixed))
        self.ids = {piece: numbering[id_] for piece, id_ in ids.items()}
        self.backend = renumber(self._plain(ids), numbering)
        self.kept = {self.ids[piece]: self.old[piece] for piece in kept}

    def _order(self, piece: str) -> tuple[int, str]:
        return self.old.get(piece, len(self.old)), piece

    def _plain(self, ids: dict[str, int]) -> dict[str, Any]:
        model = {
            **self.plain["model"],
            "vocab": ids,
            "merges": [list(pair) for pair in self.merges],
        }
        return {**self.plain, "model": model}

    def _carried(self) -> tuple[set[str], list[Pair]]:
        """Bytes, digits and white space of the base, and the merges among them."""
        pieces = {
            piece
            for piece in self.plain["model"]["vocab"]
            if piece not in self.fixed
            and (
                self.form.is_bare_byte(piece)
                or NUMBERS_AND_SPACE.fullmatch(self.form.as_text(piece) or "")
            )
        }
        merges = [
            (left, right)
            for left, right in self.plain["model"]["merges"]
            if {left, right, left + right} <= pieces
        ]
        return pieces, merges

    def _letters(self, least: int) -> set[str]:
        """Single letters: all bytes, or the base's ASCII and all frequent characters."""
        if self.form.byte_level:
            return set(byte_letters().values())
        counts: Counter[str] = Counter()
        for word, count in self.words.items():
            for character in word:
                counts[character] += count
        return {
            character
            for character, count in counts.items()
            if count >= least
            and (is_wanted_character(character) or character in self.old)
        } | {piece for piece in self.old if len(piece) == 1 and piece.isascii()}

    def _parts(self, alphabet: set[str]) -> Counter[str]:
        """The words cut at digits and at what has no letter, so that no piece has any."""
        parts: Counter[str] = Counter()
        for word, count in self.words.items():
            text = self.form.as_text(word)
            if text is None or NUMBERS_AND_SPACE.fullmatch(text):
                continue
            start = 0
            for at, letter in enumerate(word):
                if letter in "0123456789" or letter not in alphabet:
                    parts[word[start:at]] += count
                    start = at + 1
            parts[word[start:]] += count
        del parts[""]
        return parts

    def _reachable(self, start: set[str], merges: list[Pair]) -> tuple[list[Pair], int]:
        """The merges whose pieces are all given by their own text, and how many are not.

        What is made of a piece that goes, goes with it.
        """
        left_out = 0
        while True:
            pieces = {*start, *("".join(pair) for pair in merges)}
            ids = {piece: place for place, piece in enumerate(sorted(pieces))}
            model = {
                **self.plain["model"],
                "vocab": ids,
                "merges": [list(pair) for pair in merges],
            }
            made = {"".join(pair): ids["".join(pair)] for pair in merges}
            bare = {**self.plain, "model": model, "added_tokens": []}
            bare["post_processor"] = None
            dead = set(unreachable(Tokenizer.from_str(json.dumps(bare)), made))
            if not dead:
                return merges, left_out
            kept, gone = [], set(dead)
            for pair in merges:
                if gone.intersection((*pair, "".join(pair))):
                    gone.add("".join(pair))
                else:
                    kept.append(pair)
            left_out += len(merges) - len(kept)
            merges = kept

    def tokens(self) -> list[NewToken]:
        """The pieces the old vocabulary has not, in the order of their ids."""
        old = counting.model_alone(self.plain)
        counts = fires(json.loads(self.backend.to_str()), self.words)
        parts = {"".join(pair): pair for pair in reversed(self.merges)}
        return [
            NewToken(
                id=self.ids[piece],
                piece=piece,
                text=self.form.as_text(piece),
                occurrences=counts[self.ids[piece]],
                parts=tuple(self.ids[part] for part in parts.get(piece, ())),
                base_ids=tuple(old.encode(piece, add_special_tokens=False).ids),
            )
            for piece in self.new
        ]
