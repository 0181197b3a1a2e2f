"""Take pieces out of a BPE tokenizer: scripts nobody uses, then the rarest leaves.

Leaf-based pruning (Purason et al. 2025): a piece of which no other piece is made is a
leaf; the rarest leaf goes, its count goes to its two parts, and they may be leaves next.
What is left can all be reached as before: a piece that was never a part takes no
part in how another is made. By script (MAFT, Alabi et al. 2022): every piece with a
letter of a script that neither text has.

Never taken out: special and added tokens, bytes, single letters of a tokenizer without
bytes, and everything in Latin letters when scripts go, for templates and names are
written in them. Any text can still be written.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Collection, Iterable, Set
from itertools import chain
from typing import Any

from tokenizers import Tokenizer

from training.spec import ExtendVocabulary
from training.vocabulary import counting
from training.vocabulary.change import Change, Texts, compact, fires, renumber
from training.vocabulary.pieces import (
    BARRIER,
    NEUTRAL,
    PUNCTUATION,
    PieceForm,
    kind_of,
)

Pair = tuple[str, str]
# A script is one of a text's that writes at least this share of its letters: in other
# people's text there is always a letter of another.
SHARE_OF_SCRIPT = 1e-4
ALWAYS_KEPT = frozenset({"LATIN"})
NO_SCRIPT = frozenset({BARRIER, NEUTRAL, PUNCTUATION})


def prune(
    backend: Tokenizer,
    texts: Texts,
    protected: Texts,
    settings: ExtendVocabulary,
    fixed: Collection[int] = (),
) -> Change:
    """The tokenizer with fewer pieces; figures: {"removed", "removed_by_script"}.

    `fixed` are ids that stay although they are no added tokens. With
    `settings.special_ids` "fixed" no special id moves and the others close the gaps; with
    "compact" all do. Raises BaseUnsuitable for a tokenizer that is no BPE.
    """
    plain = json.loads(backend.to_str())
    form = PieceForm(plain)
    graph = Graph(plain, form, fixed)
    words = counting.count_words(backend, form, chain(texts(), protected()))
    found = fires(plain, words)
    counts = {piece: found[id_] for piece, id_ in graph.ids.items()}
    by_script: set[str] = set()
    if settings.prune_scripts == "unused":
        present = scripts(texts()) | scripts(protected()) | ALWAYS_KEPT
        by_script = graph.remove_scripts(present, counts)
    removed = by_script | graph.remove_leaves(counts, settings.prune_tokens)
    ids = [id_ for piece, id_ in graph.ids.items() if piece not in removed]
    still = graph.fixed_ids if settings.special_ids == "fixed" else ()
    numbering = compact(sorted(ids), still)
    return Change(
        renumber(graph.without(removed), numbering),
        tokens=[],
        kept={new: old for old, new in sorted(numbering.items(), key=lambda x: x[1])},
        figures={"removed": len(removed), "removed_by_script": len(by_script)},
    )


def scripts(texts: Iterable[str]) -> frozenset[str]:
    """The scripts of a text that write at least SHARE_OF_SCRIPT of its letters."""
    found: Counter[str] = Counter()
    for character, count in counting.count_characters(texts).items():
        kind = kind_of(character)
        if kind not in NO_SCRIPT:
            found[kind] += count
    least = SHARE_OF_SCRIPT * found.total()
    return frozenset(kind for kind, count in found.items() if count >= least)


class Graph:
    """Pieces and what they are made of, as pieces are taken out."""

    def __init__(
        self, plain: dict[str, Any], form: PieceForm, fixed: Collection[int]
    ) -> None:
        self.plain, self.form = plain, form
        self.ids: dict[str, int] = dict(plain["model"]["vocab"])
        for added in plain["added_tokens"]:
            self.ids.setdefault(added["content"], added["id"])
        self.fixed_ids = {added["id"] for added in plain["added_tokens"]}
        self.fixed_ids.update(set(fixed) & set(self.ids.values()))
        unknown = self.ids.get(plain["model"].get("unk_token") or "")
        self.fixed_ids.update(() if unknown is None else (unknown,))
        self.ranks: dict[Pair, int] = {
            (left, right): rank
            for rank, (left, right) in enumerate(plain["model"]["merges"])
        }
        # The merges that make a piece, and how many merges it is a part of.
        self.made_by: dict[str, list[Pair]] = {}
        self.uses: Counter[str] = Counter()
        for pair in self.ranks:
            self.made_by.setdefault("".join(pair), []).append(pair)
            self.uses.update(pair)
        self.bytes_replace_letters = not form.byte_level and (
            bool(plain["model"].get("byte_fallback"))
            and all(f"<0x{byte:02X}>" in self.ids for byte in range(256))
        )
        self.removed: set[str] = set()

    def is_leaf(self, piece: str) -> bool:
        """Whether no merge that is left needs the piece."""
        return self.uses[piece] == 0 and piece not in self.removed

    def may_go(self, piece: str) -> bool:
        """Whether a piece may be taken out at all."""
        if self.ids[piece] in self.fixed_ids or self.form.is_bare_byte(piece):
            return False
        return len(piece) > 1

    def take_out(self, piece: str) -> None:
        """Take a piece out; its parts have one use less for each way it is made."""
        self.removed.add(piece)
        for pair in self.made_by.get(piece, ()):
            self.uses.subtract(pair)

    def remove_scripts(self, present: Set[str], counts: dict[str, int]) -> set[str]:
        """Take out all pieces with a letter of another script; returns them.

        A piece made of one of them goes too, and a part of a character (byte-level)
        that nothing is made of any more and that is not in the text.
        """
        gone = {
            piece
            for piece in self.ids
            if self._is_of_other_script(piece, present)
            and (self.may_go(piece) or self._is_letter_with_bytes(piece))
        }
        users: dict[str, set[str]] = {}
        for left, right in self.ranks:
            users.setdefault(left, set()).add(left + right)
            users.setdefault(right, set()).add(left + right)
        waiting = list(gone)
        while waiting:
            for user in users.get(waiting.pop(), ()):
                if user not in gone and self.may_go(user):
                    gone.add(user)
                    waiting.append(user)
        steps = {
            piece
            for piece in self.ids
            if self.uses[piece] and not counts[piece]
            if self.form.as_text(piece) is None and self.may_go(piece)
        }
        for piece in gone:
            self.take_out(piece)
        while idle := [piece for piece in steps if self.is_leaf(piece)]:
            for piece in idle:
                self.take_out(piece)
        return set(self.removed)

    def _is_of_other_script(self, piece: str, present: Set[str]) -> bool:
        text = self.form.as_bytes(piece).decode(errors="ignore")
        kinds = {kind_of(character) for character in text} - NO_SCRIPT
        return bool(kinds - present)

    def _is_letter_with_bytes(self, piece: str) -> bool:
        return (
            self.bytes_replace_letters
            and len(piece) == 1
            and self.ids[piece] not in self.fixed_ids
        )

    def remove_leaves(self, counts: dict[str, int], number: int) -> set[str]:
        """Take out up to `number` leaves, the rarest first, later ids before earlier;
        returns them. `counts`: how often each piece stands in the text."""
        counts = dict(counts)
        heap = [
            (counts[piece], -id_, piece)
            for piece, id_ in self.ids.items()
            if self.is_leaf(piece) and self.may_go(piece)
        ]
        heapq.heapify(heap)
        gone: set[str] = set()
        while heap and len(gone) < number:
            count, _, piece = heapq.heappop(heap)
            # A count that grew since, when something made of the piece went.
            if counts[piece] != count or piece in gone:
                continue
            gone.add(piece)
            self.take_out(piece)
            for part in self.parts(piece):
                counts[part] += count
            parts = {part for pair in self.made_by.get(piece, ()) for part in pair}
            for part in parts:
                if self.is_leaf(part) and self.may_go(part):
                    heapq.heappush(heap, (counts[part], -self.ids[part], part))
        return gone

    def parts(self, piece: str) -> list[str]:
        """The two pieces that stand where a piece is no more; none for a dead one."""
        ways = self.made_by.get(piece, ())
        if len(ways) < 2:
            return list(ways[0]) if ways else []
        # SentencePiece has a merge for every way to cut a piece: find the one that acts.
        symbols = list(piece)
        last = len(self.ranks)
        while len(symbols) > 2:
            pairs = zip(symbols, symbols[1:], strict=False)
            ranked = [(self.ranks.get(p, last), at) for at, p in enumerate(pairs)]
            rank, at = min(ranked)
            if rank == last:
                return []
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        return symbols

    def without(self, removed: Set[str]) -> dict[str, Any]:
        """The tokenizer.json without these pieces and the merges that name them."""
        model = self.plain["model"]
        vocabulary = {p: id_ for p, id_ in self.ids.items() if p not in removed}
        merges = [
            [left, right]
            for left, right in self.ranks
            if not removed.intersection((left, right, left + right))
        ]
        return {**self.plain, "model": {**model, "vocab": vocabulary, "merges": merges}}
