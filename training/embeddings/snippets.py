"""Pieces of text around new tokens, as the student and as the teacher reads them.

Student: the extended tokenizer; teacher: the base's own. Both read the same characters,
and the places where both have read exactly as much are known: only there their hidden
states can be compared (Dobler et al. 2025, arXiv 2505.20133).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from training.data.passages import passages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PASSAGE_CHARACTERS = 4_000
TOGETHER = 128
SHORTEST_WINDOW = 4

Ends = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Snippet:
    """Ids of both readers, without a start token, and where they meet.

    `places` [n, 2]: positions (student, teacher) of tokens that end at the same
    character. `bytes` of the text in UTF-8.
    """

    student: np.ndarray
    teacher: np.ndarray
    places: np.ndarray
    bytes: int


@dataclass(frozen=True)
class Reading:
    """A text as ids, with first and last character of each token."""

    ids: Sequence[int]
    offsets: Ends


class Miner:
    """Finds windows of text until every new token was seen often enough.

    `pieces`: id of the extended tokenizer to the base's ids it stands for (new tokens,
    and old ones where the vocabulary was numbered anew). A window is centred on a token
    that is still wanted and counts for every new token in it.
    """

    def __init__(
        self,
        student: PreTrainedTokenizerFast,
        teacher: PreTrainedTokenizerFast,
        *,
        new: Iterable[int],
        pieces: Mapping[int, Sequence[int]],
        per_token: int,
        tokens: int,
        positions: int,
    ) -> None:
        """`positions`: the longest input of a model, the start token included."""
        self.student = student
        self.teacher = teacher
        self.pieces = pieces
        self.per_token = per_token
        self.tokens = tokens
        self.positions = positions
        self.found = Counter(dict.fromkeys(new, 0))
        self.wanted = len(self.found)

    def mine(self, texts: Iterable[str]) -> Iterator[Snippet]:
        """Snippets in the order of the text; `found` counts them by token as they come."""
        rows = passages(texts, limit=PASSAGE_CHARACTERS, short=0)
        while self.wanted and (batch := [text for text, _ in islice(rows, TOGETHER)]):
            for text, student, teacher in zip(
                batch, read(self.student, batch), read(self.teacher, batch), strict=True
            ):
                yield from self._of_passage(text, student, teacher)

    def _of_passage(
        self, text: str, student: Reading, teacher: Reading
    ) -> Iterator[Snippet]:
        meets = meeting_places(student, teacher, self.pieces)
        until = 0
        for place, id_ in enumerate(student.ids):
            if place < until or meets[place] < 0:
                continue
            if self.found.get(id_, self.per_token) >= self.per_token:
                continue
            window = self._window(place, meets, len(teacher.ids))
            if window is None:
                continue
            (first, until), (low, high) = window
            inside = [i for i in range(first, until) if meets[i] >= 0]
            self._count({student.ids[i] for i in inside})
            characters = slice(student.offsets[first][0], student.offsets[until - 1][1])
            yield Snippet(
                np.asarray(student.ids[first:until], dtype=np.int32),
                np.asarray(teacher.ids[low:high], dtype=np.int32),
                np.asarray([(i - first, meets[i] - low) for i in inside], np.int32),
                len(text[characters].encode()),
            )

    def _window(
        self, place: int, meets: Sequence[int], length: int
    ) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Student's and teacher's (first, end) around a place; None where none fits.

        Both ends lie where the readers meet, so that neither reads a character more.
        """
        width = self.tokens
        while width >= SHORTEST_WINDOW:
            end = min(len(meets), max(0, place - width // 2) + width)
            first = max(0, end - width)
            while first and meets[first - 1] < 0:
                first -= 1
            while end < len(meets) and meets[end - 1] < 0:
                end += 1
            low = meets[first - 1] + 1 if first else 0
            high = meets[end - 1] + 1 if end < len(meets) else length
            if max(end - first, high - low) < self.positions:
                return (first, end), (low, high)
            width = width * 2 // 3
        return None

    def _count(self, ids: set[int]) -> None:
        for id_ in ids & self.found.keys():
            self.found[id_] += 1
            self.wanted -= self.found[id_] == self.per_token


def read(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[Reading]:
    """Texts as ids with offsets; what looks like a special token is plain text."""
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    return [
        Reading(ids, offsets)
        for ids, offsets in zip(
            encoded["input_ids"], encoded["offset_mapping"], strict=True
        )
    ]


def meeting_places(
    student: Reading, teacher: Reading, pieces: Mapping[int, Sequence[int]]
) -> list[int]:
    """For each token of the student the teacher's that ends at the same place, or -1.

    Where the student's tokens, taken apart, are the teacher's (continued BPE), that is
    the last piece of each token. Otherwise (a replaced vocabulary) tokens meet that end
    after the same whole character.
    """
    parts = [pieces.get(id_, (id_,)) for id_ in student.ids]
    if [piece for part in parts for piece in part] == list(teacher.ids):
        return (np.cumsum([len(part) for part in parts]) - 1).tolist()
    last = {end: place for place, end in whole_characters(teacher.offsets)}
    found = [-1] * len(student.ids)
    for place, end in whole_characters(student.offsets):
        found[place] = last.get(end, -1)
    return found


def whole_characters(offsets: Ends) -> Iterator[tuple[int, int]]:
    """(place, end) of tokens after which every character begun is complete.

    The bytes of one character all have its offsets: only the last of them counts.
    """
    for place, (_, end) in enumerate(offsets):
        if end and (place + 1 == len(offsets) or offsets[place + 1][0] >= end):
            yield place, end
