"""A corpus as token ids in one flat file, mapped into memory and not read into it.

FOLDER/ids.bin        int32, every passage's ids one after the other; ~id (below zero)
                      where the token is read and not learned
FOLDER/passages.npy   int64 [passages, 4]: end in ids, UTF-8 bytes, ends its document,
                      number of its language
FOLDER/manifest.json  what it was made from, its languages, and the hashes of both

Rows are {"text"} and, where there is more to say, "language", "inserted" (spans of
characters that are read and not learned) and "chat" (special tokens stand in the text).
"""

from __future__ import annotations

import hashlib
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training import manifest
from training.data.dropout import Dropout
from training.data.passages import cut
from training.data.rows import read_rows
from training.families import end_of_text_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Texts handed to the tokenizer at once: enough to use every core, little memory.
TOGETHER = 512
# Characters of a passage for each token of a block: no language needs more, so that a
# passage fills at least one block and replay is mixed in finely.
CHARACTERS_PER_BLOCK_TOKEN = 8


Encode = Callable[[Sequence[str]], Iterable[list[int]]]


def encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts, nothing added; what looks like a special token is plain text."""
    if not texts:
        return []
    return tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        verbose=False,
    )["input_ids"]


def start_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id before a text: beginning-of-text where the tokenizer has one, else end.

    Training and measuring use the same, so that a text's first token can be predicted.
    """
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    return end_of_text_id(tokenizer)


@dataclass(frozen=True)
class TokenFile:
    """Passages as ids. `starts`, `ends`, `sizes`, `last` and `language` have one entry
    for each passage; `language` is its number in `languages`."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    sizes: np.ndarray
    last: np.ndarray
    language: np.ndarray
    languages: tuple[str, ...] = ("",)

    @property
    def total_bytes(self) -> int:
        """UTF-8 bytes of all passages, without what is read and not learned."""
        return int(self.sizes.sum())

    def __len__(self) -> int:
        return len(self.ends)

    def length(self, passage: int) -> int:
        """Number of ids of a passage."""
        return int(self.ends[passage] - self.starts[passage])

    def slice(self, passage: int, first: int, stop: int) -> np.ndarray:
        """Ids `first` to `stop` of a passage; fewer where it ends before."""
        start = int(self.starts[passage])
        stop = min(start + stop, int(self.ends[passage]))
        return self.ids[start + first : stop]

    def of(self, language: str) -> TokenFile:
        """The passages of one language; the ids stay where they are."""
        if self.languages == (language,):
            return self
        rows = np.flatnonzero(self.language == self.languages.index(language))
        columns = (self.starts, self.ends, self.sizes, self.last, self.language)
        return TokenFile(
            self.ids, *(column[rows] for column in columns), self.languages
        )


@dataclass(frozen=True)
class Passage:
    """A piece of a row's text: whether it ends its document, the number of its language,
    spans of characters that are not learned, whether it holds special tokens."""

    text: str
    last: bool
    language: int = 0
    inserted: tuple[tuple[int, int], ...] = ()
    chat: bool = False

    @property
    def learned_bytes(self) -> int:
        """UTF-8 bytes without the inserted spans."""
        added = sum(len(self.text[a:b].encode()) for a, b in self.inserted)
        return len(self.text.encode()) - added


def tokenise(
    tokenizer: PreTrainedTokenizerFast,
    path: Path,
    folder: Path,
    *,
    block_tokens: int,
    dropout: float = 0.0,
    seed: int = 0,
) -> TokenFile:
    """Ids of the rows in `path`, written to `folder` or found there.

    Passages are cut by characters and so are the same under every tokenizer. `dropout`
    and `seed`: see training/data/dropout.py; passages with spans that are not learned
    are cut without it.
    """
    facts = {
        "format": 2,
        "text": manifest.file_sha256(path),
        "tokenizer": fingerprint(tokenizer),
        "block_tokens": block_tokens,
        "dropout": [dropout, seed] if dropout else [],
    }
    stored = manifest.read(folder) or {}
    same = all(stored.get(name) == value for name, value in facts.items())
    if not (same and manifest.is_whole(folder)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        languages: dict[str, int] = {}
        limit = block_tokens * CHARACTERS_PER_BLOCK_TOKEN
        rows = (
            passage
            for row in read_rows(path)
            for passage in cut_row(row, limit, languages)
        )
        plain = Dropout(tokenizer, dropout, seed).encode if dropout else None
        _write(tokenizer, rows, folder, plain or partial(encode, tokenizer))
        manifest.seal(folder, **facts, languages=list(languages))
        stored = manifest.read(folder) or {}
    table = np.load(folder / "passages.npy", mmap_mode="r").reshape(-1, 4)
    size = (folder / "ids.bin").stat().st_size
    ids = (
        np.memmap(folder / "ids.bin", dtype=np.int32, mode="r")
        if size
        else np.empty(0, np.int32)
    )
    ends = np.ascontiguousarray(table[:, 0])
    starts = np.concatenate([[0], ends]).astype(np.int64)[:-1]
    names = tuple(stored["languages"]) or ("",)
    last = table[:, 2].astype(bool)
    return TokenFile(ids, starts, ends, table[:, 1], last, table[:, 3], names)


def cut_row(
    row: dict[str, Any], limit: int, languages: dict[str, int]
) -> Iterator[Passage]:
    """A row as passages of at most `limit` characters; `languages` numbers what it
    meets. Inserted spans that a cut divides are divided."""
    number = languages.setdefault(row.get("language") or "", len(languages))
    spans = [(int(a), int(b)) for a, b in row.get("inserted", ())]
    start = 0
    for part in cut(row["text"], limit):
        stop = start + len(part)
        inside = tuple(
            (max(a, start) - start, min(b, stop) - start)
            for a, b in spans
            if a < stop and b > start
        )
        last = stop == len(row["text"])
        yield Passage(part, last, number, inside, bool(row.get("chat")))
        start = stop


def fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """A short text that changes with the tokenizer's pieces or rules."""
    rules = tokenizer.backend_tokenizer.to_str()
    return hashlib.sha256(rules.encode()).hexdigest()


def _write(
    tokenizer: PreTrainedTokenizerFast,
    rows: Iterable[Passage],
    folder: Path,
    plain: Encode,
) -> None:
    table, end = array("q"), 0
    with (folder / "ids.bin").open("wb") as file:
        for batch in _batches(rows):
            for passage, ids in zip(batch, _ids(tokenizer, batch, plain), strict=True):
                if not ids:
                    continue
                np.asarray(ids, dtype=np.int32).tofile(file)
                end += len(ids)
                table.extend(
                    (end, passage.learned_bytes, passage.last, passage.language)
                )
    np.save(folder / "passages.npy", np.asarray(table, dtype=np.int64).reshape(-1, 4))


def _ids(
    tokenizer: PreTrainedTokenizerFast, batch: Sequence[Passage], plain: Encode
) -> Iterator[list[int]]:
    """Ids of passages; ~id of every token that has a part in an inserted span."""
    texts = [passage.text for passage in batch if not special(passage)]
    whole = iter(plain(texts) if texts else ())
    for passage in batch:
        if not special(passage):
            yield next(whole)
            continue
        made = tokenizer(
            passage.text,
            add_special_tokens=False,
            split_special_tokens=not passage.chat,
            return_offsets_mapping=True,
            verbose=False,
        )
        yield [
            ~id_ if any(a < stop and b > start for a, b in passage.inserted) else id_
            for id_, (start, stop) in zip(
                made["input_ids"], made["offset_mapping"], strict=True
            )
        ]


def special(passage: Passage) -> bool:
    """Whether a passage is more than plain text that is learned whole."""
    return bool(passage.inserted) or passage.chat


def _batches(rows: Iterable[Passage]) -> Iterator[list[Passage]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, TOGETHER)):
        yield batch
