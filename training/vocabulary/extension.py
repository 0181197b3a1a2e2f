"""Extend a tokenizer: count, grow, write the new pieces into its own model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer

from training.errors import ScriptUnreadable, TokenizerMismatch
from training.evaluation.tokenizer_figures import count_words as words_in
from training.spec import ExtendVocabulary
from training.vocabulary import candidates, counting, pre_tokenizer, sampling, size
from training.vocabulary.growth import Growth, NewToken, count_tokens
from training.vocabulary.pieces import PieceForm
from training.vocabulary.sampling import Labelled

# A base that loses more of the text than this cannot learn it: what has no piece is gone
# from every text. Below are strange quotation marks and the like.
UNREADABLE_SHARE = 0.01


@dataclass(frozen=True)
class Extension:
    """A tokenizer with more pieces.

    `marks` are those now kept with their letters; `marks_cut`: whether there are marks
    that are still cut off, because the pattern may not be changed. `figures`:

    size_curve          [[added, tokens_per_word, characters_per_token, used_share]] of
                        the held-out text; used_share of the new tokens occur in it
    skipped             {reason: candidates that were frequent enough and refused}
    masked              {what: spans of the text that no piece was learned from}
    words_missed        words may have occurred so much more often than was counted
    tokens_by_language  {language: tokens, share, and tokens per word before and after};
                        only for texts that name several languages
    """

    backend: Tokenizer
    tokens: list[NewToken]
    marks: str = ""
    marks_cut: bool = False
    figures: dict[str, Any] = field(default_factory=dict)


def unreadable_share(backend: Tokenizer, characters: Counter[str]) -> float:
    """The share (0 to 1) of the counted characters that the tokenizer cannot write.

    Any kind of tokenizer: a character is lost that gives the unknown piece or nothing.
    """
    plain = json.loads(backend.to_str())
    unknown = plain["model"].get("unk_id")
    if unknown is None and plain["model"].get("unk_token") is not None:
        unknown = backend.token_to_id(plain["model"]["unk_token"])
    empty = backend.encode(" ", add_special_tokens=False).ids
    total = lost = 0
    for character, count in characters.items():
        if character.isspace():
            continue
        ids = backend.encode(character, add_special_tokens=False).ids
        total += count
        lost += count * (unknown in ids or not ids or ids == empty)
    return lost / total if total else 0.0


def refuse_unreadable(share: float) -> None:
    """Raise ScriptUnreadable where too much of the text would be lost."""
    if share > UNREADABLE_SHARE:
        raise ScriptUnreadable(
            f"The base model cannot write {share:.1%} of the text's characters: its "
            "tokenizer has no pieces for them and does not fall back to bytes."
        )


def extend(
    backend: Tokenizer,
    texts: Callable[[], Iterable[Labelled]],
    settings: ExtendVocabulary,
    *,
    change_pattern: bool = True,
    held_out: Iterable[Labelled] = (),
) -> Extension:
    """Continue the tokenizer's BPE on the texts (read twice, streamed).

    A text may come as (language, text). `change_pattern`: whether a pre-tokenizer that
    tears marks off may be changed. `held_out`: what the size is chosen by and measured
    on; without it the size is `new_tokens`.

    Raises BaseUnsuitable for a tokenizer that is no BPE, ScriptUnreadable for text that
    the tokenizer would lose.
    """
    plain = json.loads(backend.to_str())
    form = PieceForm(plain)
    by_language = counting.count_characters_by_language(sampling.labelled(texts()))
    characters = sum(by_language.values(), Counter[str]())
    refuse_unreadable(unreadable_share(backend, characters))
    wider, marks = pre_tokenizer.keep_marks(
        plain, characters, settings.minimum_occurrences
    )
    if marks and change_pattern:
        plain = wider
        backend = Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))
    masked: Counter[str] = Counter()
    clean = _without_residue(texts(), masked) if settings.junk == "skip" else texts()
    counts = counting.count_by_language(backend, form, sampling.labelled(clean))
    growth = Growth(backend, plain, form, settings)
    growth.learn(counts.words, {name: c.total() for name, c in by_language.items()})
    held = list(sampling.labelled(held_out))
    points = growth.measure(held) if held else []
    tokens = growth.tokens(growth.choose_size(points))
    made = write(plain, tokens)
    figures = {
        "size_curve": size_curve(points, [text for _, text in held]),
        "skipped": growth.skipped(tokens),
        "masked": dict(sorted(masked.items())),
        "words_missed": max(counts.missed.values(), default=0),
    }
    if len(counts.words) > 1:
        figures["tokens_by_language"] = shares(
            growth.owners(tokens), held, backend, made
        )
    return Extension(
        made,
        tokens,
        marks=marks if change_pattern else "",
        marks_cut=bool(marks) and not change_pattern,
        figures=figures,
    )


def _without_residue(
    texts: Iterable[Labelled], masked: Counter[str]
) -> Iterator[tuple[str, str]]:
    for language, text in sampling.labelled(texts):
        text, found = candidates.without_residue(text)
        masked.update(found)
        yield language, text


def size_curve(points: list[size.Point], texts: list[str]) -> list[list[float]]:
    """The points as [added, tokens per word, characters per token, share used]."""
    words = max(sum(map(words_in, texts)), 1)
    characters = sum(map(len, texts))
    return [
        [
            point.added,
            round(point.tokens / words, 4),
            round(characters / max(point.tokens, 1), 4),
            round(point.used / point.added, 4) if point.added else 0.0,
        ]
        for point in points
    ]


def shares(
    owned: Counter[str],
    held: list[tuple[str, str]],
    before: Tokenizer,
    after: Tokenizer,
) -> dict[str, dict[str, Any]]:
    """Per language the new tokens that are its own, their share, and tokens per word of
    its held-out text with both tokenizers, None where none is held out."""
    total = max(owned.total(), 1)
    found = {}
    for language, count in sorted(owned.items()):
        texts = [text for name, text in held if name == language]
        words = sum(map(words_in, texts))
        per_word = [
            round(count_tokens(backend, texts) / words, 4) if words else None
            for backend in (before, after)
        ]
        found[language] = {
            "tokens": count,
            "share": round(count / total, 4),
            "tokens_per_word_before": per_word[0],
            "tokens_per_word_after": per_word[1],
        }
    return found


def write(plain: dict[str, Any], tokens: list[NewToken]) -> Tokenizer:
    """The tokenizer with the tokens in its own vocabulary and merges, after all old ones.

    Added and special tokens are written into the vocabulary under their ids: the library
    gives new numbers to those it does not find there. Raises TokenizerMismatch where an
    old piece or special token would get another id.
    """
    vocabulary = dict(plain["model"]["vocab"])
    for added in plain["added_tokens"]:
        vocabulary.setdefault(added["content"], added["id"])
    expected = dict(vocabulary)
    pieces = {id_: piece for piece, id_ in vocabulary.items()}
    merges = list(plain["model"]["merges"])
    for token in tokens:
        vocabulary[token.piece] = token.id
        pieces[token.id] = token.piece
        if token.parts:
            merges.append([pieces[part] for part in token.parts])
    model = {**plain["model"], "vocab": vocabulary, "merges": merges}
    backend = Tokenizer.from_str(
        json.dumps({**plain, "model": model}, ensure_ascii=False)
    )
    written = backend.get_vocab()
    moved = [piece for piece, id_ in expected.items() if written.get(piece) != id_]
    if moved:
        raise TokenizerMismatch(
            f"{len(moved)} old pieces would get other ids, the first is {moved[0]!r}.",
            hint="Keep the tokenizer as it is, or choose another base model.",
        )
    return backend
