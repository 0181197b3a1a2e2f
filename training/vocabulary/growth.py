"""The new pieces of one tokenizer: what is let in, how far it grows, how many are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Tokenizer

from training.spec import ExtendVocabulary
from training.vocabulary import candidates, continued_bpe, counting, sampling, size
from training.vocabulary.pieces import (
    BARRIER,
    NEUTRAL,
    PieceForm,
    is_part_of_character,
    is_wanted,
    is_wanted_character,
    kind_of_text,
)

TOGETHER_CHARACTERS = 200_000


@dataclass(frozen=True)
class NewToken:
    """A piece that was added, in its internal form; `base_ids` are what it stands for.

    `text` is None for a piece that is only a part of a character; `parts` are the two
    ids that were merged, none for a character.
    """

    id: int
    piece: str
    text: str | None
    occurrences: int
    parts: tuple[int, ...]
    base_ids: tuple[int, ...]


def count_tokens(backend: Tokenizer, texts: Iterable[str]) -> int:
    """Tokens of texts, without special ones; a few texts at a time, since an encoding
    takes some hundred bytes for each character."""
    total, waiting, characters = 0, [], 0
    for text in texts:
        waiting.append(text)
        characters += len(text)
        if characters > TOGETHER_CHARACTERS:
            encoded = backend.encode_batch_fast(waiting, add_special_tokens=False)
            total += sum(len(encoding.ids) for encoding in encoded)
            waiting, characters = [], 0
    encoded = backend.encode_batch_fast(waiting, add_special_tokens=False)
    return total + sum(len(encoding.ids) for encoding in encoded)


class Growth:
    """New pieces for one tokenizer: the vocabulary as it grows, and what is let in."""

    def __init__(
        self,
        backend: Tokenizer,
        plain: dict[str, Any],
        form: PieceForm,
        settings: ExtendVocabulary,
    ) -> None:
        self.backend = backend
        self.plain = plain
        self.form = form
        self.settings = settings
        self.first_id = counting.highest_id(plain) + 1
        self.pieces = {id_: piece for piece, id_ in plain["model"]["vocab"].items()}
        self.taken = set(plain["model"]["vocab"])
        self.fixed = {added["id"] for added in plain["added_tokens"]}
        self.fixed.update(
            id_ for id_, piece in self.pieces.items() if form.is_bare_byte(piece)
        )
        self.fixed.add(plain["model"]["vocab"].get(plain["model"].get("unk_token"), -1))
        self.bare = counting.word_tokenizer(plain)
        self.apart: Counter[tuple[int, int]] = Counter()
        # Missing characters by id: occurrences by language, base pieces that write them.
        self.missing: dict[int, Counter[str]] = {}
        self.costs: dict[int, int] = {}
        self.refused: Counter[str] = Counter()
        self.ranges: dict[str, tuple[int, int]] = {}

    def learn(
        self, words: Mapping[str, Counter[str]], characters: Mapping[str, int]
    ) -> None:
        """Grow as far as the settings may ask for; `characters` are those of each
        language's text. Words are counted by language and used up."""
        if not self.form.byte_level:
            self._add_missing_characters(words)
        self.tokenizer = counting.word_tokenizer(
            self.plain, (self.pieces[id_] for id_ in self.missing)
        )
        sequences = {}
        for language in sorted(words):
            sequences[language] = counting.segment(
                words[language], self.tokenizer, self._can_join, apart=self.apart
            )
            words[language].clear()
        self.characters = characters
        self.factors = sampling.factors(characters, self.settings.sampling_exponent)
        self._grow(sequences)
        if self.settings.least_language_share and len(sequences) > 1:
            self._raise_short_languages(sequences)

    def _raise_short_languages(
        self, sequences: dict[str, Counter[tuple[int, ...]]]
    ) -> None:
        """Grow anew with more weight on the languages that have too few tokens; of all
        rounds the one stays whose smallest share is largest."""
        share = min(self.settings.least_language_share, 1 / len(sequences))
        rounds: list[tuple[int, dict[str, int]]] = []
        while True:
            owned = self.owners(self.tokens(self.settings.new_tokens))
            short = sampling.short(owned, share)
            rounds.append((min(owned.values()), self.factors))
            if not short or len(rounds) == sampling.ROUNDS:
                break
            self.factors = sampling.raised(self.factors, short)
            self._grow(sequences)
        _, best = max(rounds, key=lambda one: one[0])
        if best != self.factors:
            self.factors = best
            self._grow(sequences)

    def _grow(self, sequences: dict[str, Counter[tuple[int, ...]]]) -> None:
        """One run from the base's pieces to the limit."""
        first = self.first_id + len(self.missing)
        for made in [id_ for id_ in self.pieces if id_ >= first]:
            self.taken.discard(self.pieces.pop(made))

        def weighed() -> Iterator[tuple[tuple[int, ...], int]]:
            start = 0
            for language, found in sequences.items():
                factor = self.factors.get(language, 0)
                for sequence, count in found.items():
                    yield sequence, continued_bpe.weighted(count, factor)
                self.ranges[language] = (start, start + len(found))
                start += len(found)
                if len(sequences) == 1:
                    found.clear()

        self.counts = continued_bpe.PairCounts(
            weighed(), self.settings.minimum_occurrences
        )
        wanted = self.settings.new_tokens
        self.grown = continued_bpe.grow(
            self.counts,
            first_id=first,
            new_tokens=wanted + (size.AHEAD if self.settings.size != "fixed" else 0),
            allow=self._allows,
            is_step=self._is_step,
            register=self._register,
            characters=self._savings(),
        )

    def _savings(self) -> list[tuple[int, int]]:
        """Missing characters and the tokens each saves, weighted, the most first."""
        savings = []
        for id_, occurrences in self.missing.items():
            saved = max(self.costs[id_] - 1, 1)
            weight = sum(
                continued_bpe.weighted(count * saved, self.factors.get(language, 0))
                for language, count in occurrences.items()
            )
            savings.append((id_, weight))
        return sorted(savings, key=lambda saving: (-saving[1], saving[0]))

    def measure(self, held_out: list[tuple[str, str]]) -> list[size.Point]:
        """The curve on held-out texts, by the encoding the tokenizer really gives."""
        texts = [text for _, text in held_out]
        words = counting.count_words(self.backend, self.form, texts)
        sequences = counting.segment(
            words, self.tokenizer, self._can_join, least_pieces=1
        )
        points = size.curve(self.grown, sequences, self.costs)
        # Line ends and added tokens stand between the words and are the same in all.
        between = count_tokens(self.backend, texts) - points[0].tokens
        return [replace(p, tokens=p.tokens + between) for p in points]

    def choose_size(self, points: list[size.Point]) -> int:
        """How many tokens to add: what the settings say, or the curve."""
        limit = min(self.settings.new_tokens, self.grown.tokens)
        if self.settings.size == "fixed" or not points:
            return limit
        chosen = size.choose(points, limit, self.settings.size)
        return size.rounded(chosen, self.first_id, self.settings.round_rows_to, limit)

    def owners(self, tokens: list[NewToken]) -> Counter[str]:
        """How many of the tokens are each language's own."""
        id_of = {piece: id_ for id_, piece in self.pieces.items()}
        ids = {id_of[token.piece] for token in tokens}
        occurrences = {
            language: self.grown.with_parts(self.counts.pieces(start, end))
            for language, (start, end) in self.ranges.items()
        }
        return sampling.owners(occurrences, self.characters, ids)

    def skipped(self, tokens: list[NewToken]) -> dict[str, int]:
        """Candidates by the reason they were refused for, of those that occur at least
        as often as the last token that was added."""
        least = tokens[-1].occurrences if tokens else self.settings.minimum_occurrences
        seen = {
            character: candidates.reason(character, 1)
            for character, count in self.refused.items()
            if count >= least and not character.isspace()
        }
        for (left, right), count in [*self.grown.vetoed, *self.apart.items()]:
            if count < least or left in self.fixed or right in self.fixed:
                continue
            piece = self.pieces[left] + self.pieces[right]
            text = self.form.as_text(piece)
            if text is None or piece in self.taken:
                continue
            # A space begins a word: nobody would join what is before it.
            if not any(character.isspace() for character in text[1:]):
                seen[piece] = candidates.reason(text, self.settings.maximum_characters)
        return dict(sorted(Counter(filter(None, seen.values())).items()))

    def _add_missing_characters(self, words: Mapping[str, Counter[str]]) -> None:
        """Frequent characters of the text without a piece, under ids of their own."""
        by_language: dict[str, Counter[str]] = {}
        for language, found in words.items():
            counts = by_language[language] = Counter()
            for word, count in found.items():
                for character in word:
                    counts[character] += count
        for character, count in sum(by_language.values(), Counter[str]()).most_common():
            if count < self.settings.minimum_occurrences or character in self.taken:
                continue
            if not is_wanted_character(character):
                self.refused[character] = count
            else:
                id_ = self.first_id + len(self.missing)
                encoded = self.bare.encode(character, add_special_tokens=False)
                self.missing[id_] = Counter(
                    {name: counts[character] for name, counts in by_language.items()}
                )
                self.costs[id_] = len(encoded)
                self.pieces[id_] = character
                self.taken.add(character)

    def _can_join(self, left: int, right: int) -> bool:
        """Whether any new piece could hold these two base pieces side by side."""
        if left in self.fixed or right in self.fixed:
            return False
        first = self.form.as_text(self.pieces[left])
        second = self.form.as_text(self.pieces[right])
        if second is not None and second.startswith(" "):
            return False
        kinds = {
            NEUTRAL if text is None else kind_of_text(text) for text in (first, second)
        }
        return BARRIER not in kinds and len(kinds - {NEUTRAL}) < 2

    def _allows(self, left: int, right: int) -> bool:
        """Whether the piece made of these two may be added."""
        piece = self.pieces[left] + self.pieces[right]
        if piece in self.taken:
            return False
        text = self.form.as_text(piece)
        if text is None:
            return is_part_of_character(self.form.as_bytes(piece))
        if len(text) == 1:
            return is_wanted_character(text)
        if self.settings.junk == "skip" and candidates.is_mojibake(text):
            return False
        return is_wanted(text, self.settings.maximum_characters)

    def _is_step(self, id_: int) -> bool:
        """Whether a piece is only a part of a character."""
        return self.form.as_text(self.pieces[id_]) is None

    def _register(self, made: int, left: int, right: int) -> None:
        self.pieces[made] = self.pieces[left] + self.pieces[right]
        self.taken.add(self.pieces[made])

    def tokens(self, count: int) -> list[NewToken]:
        """The first `count` tokens in the order of their ids: characters, then merges.

        Ids have no gaps; each token is taken apart into base pieces.
        """
        merges, characters = self.grown.first(count)
        final: dict[int, int] = {}
        bases: dict[int, tuple[int, ...]] = {}
        tokens = []

        def add(made: int, count: int, parts: tuple[int, ...]) -> None:
            final[made] = self.first_id + len(tokens)
            piece = self.pieces[made]
            if parts:
                bases[made] = bases.get(parts[0], parts[:1]) + bases.get(
                    parts[1], parts[1:]
                )
            else:
                encoded = self.bare.encode(piece, add_special_tokens=False)
                bases[made] = tuple(encoded.ids)
            tokens.append(
                NewToken(
                    id=final[made],
                    piece=piece,
                    text=self.form.as_text(piece),
                    occurrences=count,
                    parts=tuple(final.get(part, part) for part in parts),
                    base_ids=bases[made],
                )
            )

        for id_ in characters:
            add(id_, self.missing[id_].total(), ())
        for merge in merges:
            add(merge.made, merge.occurrences, (merge.left, merge.right))
        return tokens
