"""Batches of blocks: which text, in which order, and no document sees another.

The order of the text is a function of the seed and of the texts alone: every arm of a
comparison reads the same passages in the same order, whatever its tokenizer, and a
resumed run goes on at exactly the passage where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from training.data.buckets import Layout, Piece, bucketed
from training.data.tokens import TokenFile

IGNORED = -100  # torch.nn.functional.cross_entropy's ignore_index
# A rest of a block shorter than this stays empty: such a piece teaches little.
SHORTEST_PIECE = 8
# Passages of a new round whose numbers are Python's at once.
NUMBERS_AT_ONCE = 65_536

Shares = Sequence[float]


def mixed_order(
    sizes: Sequence[np.ndarray], shares: Shares | Callable[[], Shares], seed: int
) -> Iterator[tuple[int, int]]:
    """(source, passage) without end, each source giving its share of the bytes.

    `sizes` are the passages' UTF-8 bytes for each source. A source is read in a new
    random order each time round. The source that is furthest behind its share is next.
    `shares` may be a function that is asked each time; when its answer changes, the
    count begins again, so that nothing is made up for.
    """
    ask = shares if callable(shares) else lambda: shares
    now: Shares = ()
    rounds = {s: _rounds(len(sizes[s]), seed, s) for s in range(len(sizes))}
    while True:
        if (asked := ask()) != now:
            now = asked
            active = [s for s, size in enumerate(sizes) if len(size) and now[s] > 0]
            given = [0.0] * len(sizes)
        if not active:
            return
        source = min(active, key=lambda s: given[s] / now[s])
        passage = next(rounds[source])
        given[source] += float(sizes[source][passage])
        yield source, passage


def _rounds(count: int, seed: int, source: int) -> Iterator[int]:
    number = 0
    while count:
        order = np.random.default_rng([seed, source, number]).permutation(count)
        for first in range(0, count, NUMBERS_AT_ONCE):
            yield from order[first : first + NUMBERS_AT_ONCE].tolist()
        number += 1


@dataclass(frozen=True)
class Batch:
    """Tensors of shape [blocks, block_tokens]; `bytes` of text its labels stand for.

    `documents` numbers the documents of a block, so that attention stays inside one;
    empty places have number -1 and label IGNORED.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    documents: torch.Tensor
    tokens: int
    bytes: float

    def inputs(
        self, device: torch.device, attention: str, config: Any = None
    ) -> dict[str, Any]:
        """Keyword arguments of a model's forward pass, on `device`.

        `config` is the model's: layers that look back only so far (sliding windows) get
        a mask of their own. For flash attention, which takes no mask, all blocks come
        as one row: its variable-length form begins a document where positions restart.
        """
        ids, positions = self.ids.to(device), self.positions.to(device)
        if attention.startswith("flash"):
            ids, positions, mask = ids.view(1, -1), positions.view(1, -1), None
        elif bool((self.documents <= 0).all()):
            mask = None  # one document a row, at its beginning: causal is enough
            positions = torch.arange(ids.shape[1], device=device).expand_as(ids)
        else:
            mask = attention_mask(self.documents.to(device), attention, config)
        return {
            "input_ids": ids,
            "position_ids": positions,
            "attention_mask": mask,
            "use_cache": False,
        }

    def share(self, rank: int, size: int) -> Batch:
        """The rows of one of `size` processes; tokens and bytes of the whole.

        All get the same number of rows, for they compute in step; where there are not
        enough, a row comes from which nothing is learned.
        """
        count = len(self.ids)
        wanted = torch.arange(rank, count + -count % size, size)
        learned = (wanted < count)[:, None]
        rows = wanted.clamp_max(count - 1)
        return Batch(
            self.ids[rows],
            self.labels[rows].where(learned, torch.tensor(IGNORED)),
            self.positions[rows],
            self.documents[rows],
            self.tokens,
            self.bytes,
        )

    def parts(self, blocks: int) -> Iterator[Batch]:
        """These blocks in batches of at most `blocks`; tokens and bytes of the whole."""
        for first in range(0, len(self.ids), blocks):
            rows = slice(first, first + blocks)
            yield Batch(
                self.ids[rows],
                self.labels[rows],
                self.positions[rows],
                self.documents[rows],
                self.tokens,
                self.bytes,
            )


def attention_mask(
    documents: torch.Tensor, attention: str = "sdpa", config: Any = None
) -> torch.Tensor | dict[str, torch.Tensor]:
    """The mask a model of `config` needs for packed documents.

    transformers takes a mask of four dimensions as it is and adds no window of its own:
    models whose layers differ (Gemma 2 and 3, Qwen) get one for each type of layer,
    models with one window (Mistral) the narrow one.
    """
    plain = config.get_text_config() if config is not None else None
    window = getattr(plain, "sliding_window", None)
    types = getattr(plain, "layer_types", None)
    mask = document_mask(documents, attention)
    if not window or documents.shape[1] <= window:
        return mask
    narrow = document_mask(documents, attention, window)
    if types is None:
        return narrow
    return {"full_attention": mask, "sliding_attention": narrow}


def document_mask(
    documents: torch.Tensor, attention: str = "sdpa", window: int = 0
) -> torch.Tensor:
    """Causal and block-diagonal mask [blocks, 1, tokens, tokens] from document numbers.

    With a `window` a token sees itself and the window - 1 tokens before it. Boolean for
    scaled-dot-product attention; added to the scores (float32) for others.
    """
    same = documents[:, None, :, None] == documents[:, None, None, :]
    mask = same.tril_()
    if window:
        mask = mask.triu_(1 - window)
    if attention == "sdpa":
        return mask
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, lowest)


@dataclass(frozen=True)
class Packer:
    """Lays passages out in blocks and fills them with ids.

    `sources` are token files with their `shares` of the bytes; `start` is the token
    before the first of a piece, `end` the one after a document. `stages` are (progress
    from 0 to 1, shares from there on), where the shares change on the way. The first
    `targets` sources are the text whose passes are counted. `cycle`: 0 packs documents
    into blocks; otherwise batches of equal length come in cycles of so many, short ones
    first (training/data/buckets.py).
    """

    sources: Sequence[TokenFile]
    shares: Shares
    seed: int
    block_tokens: int
    batch_blocks: int
    start: int
    end: int
    stages: Sequence[tuple[float, Shares]] = ()
    targets: int = 1
    cycle: int = 0

    def shares_at(self, progress: float) -> Shares:
        """The shares at a part of the way, from 0 to 1."""
        begun = [shares for start, shares in self.stages if start <= progress]
        return begun[-1] if begun else self.shares

    def steps_of_an_epoch(self) -> float:
        """Steps in which the target text is read once, at its share of the bytes; all
        text where the target has no share."""
        present = [bool(len(source)) for source in self.sources]
        share = sum(
            length * _share_of(shares, self.targets, present)
            for length, shares in self._lengths()
        )
        counted = self.sources[: self.targets] if share else self.sources
        steps = max(4, self.cycle)  # a whole cycle of lengths
        batches = self.batches()
        bytes_of_a_step = sum(next(batches).bytes for _ in range(steps)) / steps
        total = sum(source.total_bytes for source in counted)
        return total / (share or 1.0) / max(1.0, bytes_of_a_step)

    def _lengths(self) -> Iterator[tuple[float, Shares]]:
        """Parts of the way with their shares; the parts add up to 1."""
        starts = [0.0, *(start for start, _ in self.stages), 1.0]
        for first, stop in zip(starts, starts[1:], strict=False):
            if stop > first:
                yield stop - first, self.shares_at(first)

    def batches(self, first_step: int = 0, total: int = 0) -> Iterator[Batch]:
        """Batches from a step on, without end; `total` steps are the whole way, 0 where
        that is not known yet: then the first shares hold."""
        layouts = self.bucketed(total) if self.cycle else self.blocks(total)
        for _ in range(first_step):
            next(layouts)
        for width, rows in layouts:
            yield self.fill(rows, width)

    def blocks(self, total: int = 0) -> Iterator[Layout]:
        """Layouts of whole batches of blocks."""
        layouts = self.layouts(total)
        while rows := [next(layouts) for _ in range(self.batch_blocks)]:
            yield self.block_tokens, rows

    def bucketed(self, total: int = 0) -> Iterator[Layout]:
        """Layouts of batches with rows of equal length."""
        done = 0

        def finished() -> None:
            nonlocal done
            done += 1

        documents = (
            (source, passage, self._targets(source, passage))
            for source, passage in self._order(lambda: done / total if total else 0.0)
        )
        return bucketed(
            documents,
            longest=self.block_tokens,
            batch_tokens=self.block_tokens * self.batch_blocks,
            cycle=self.cycle,
            finished=finished,
        )

    def layouts(self, total: int = 0) -> Iterator[list[Piece]]:
        """The pieces of each block: passages laid end to end, cut where a block ends."""
        block: list[Piece] = []
        room, done = self.block_tokens, 0
        all_blocks = total * self.batch_blocks
        order = self._order(lambda: done / all_blocks if all_blocks else 0.0)
        for source, passage in order:
            targets = self._targets(source, passage)
            first = 0
            while first < targets:
                count = min(room, targets - first)
                block.append((source, passage, first, count))
                first += count
                room -= count
                if room < SHORTEST_PIECE:
                    done += 1
                    yield block
                    block, room = [], self.block_tokens

    def _order(self, progress: Callable[[], float]) -> Iterator[tuple[int, int]]:
        sizes = [source.sizes for source in self.sources]
        return mixed_order(sizes, lambda: self.shares_at(progress()), self.seed)

    def _targets(self, source: int, passage: int) -> int:
        """Tokens to predict in a passage: its own and the one that ends it."""
        file = self.sources[source]
        return file.length(passage) + bool(file.last[passage])

    def fill(self, blocks: Sequence[Sequence[Piece]], width: int = 0) -> Batch:
        """Ids, labels, positions and document numbers of some blocks."""
        shape = (len(blocks), width or self.block_tokens)
        ids = np.full(shape, self.end, dtype=np.int64)
        labels = np.full(shape, IGNORED, dtype=np.int64)
        positions = np.zeros(shape, dtype=np.int64)
        documents = np.full(shape, -1, dtype=np.int64)
        text_bytes = 0.0
        for row, block in enumerate(blocks):
            place = 0
            for number, (source, passage, first, count) in enumerate(block):
                file = self.sources[source]
                found = file.slice(passage, first, first + count)
                # Below zero: read and not learned.
                read = np.where(found < 0, ~found, found)
                until = place + len(found)
                labels[row, place:until] = np.where(found < 0, IGNORED, found)
                labels[row, until : place + count] = self.end
                ids[row, place] = self.start
                ids[row, place + 1 : place + count] = read[: count - 1]
                positions[row, place : place + count] = np.arange(count)
                documents[row, place : place + count] = number
                place += count
                text_bytes += file.sizes[passage] * len(found) / file.length(passage)
        return Batch(
            *(torch.from_numpy(a) for a in (ids, labels, positions, documents)),
            tokens=int((labels != IGNORED).sum()),
            bytes=float(text_bytes),
        )


def _share_of(shares: Shares, targets: int, present: Sequence[bool]) -> float:
    """What the first `targets` sources have of the sources that are there."""
    here = [share * there for share, there in zip(shares, present, strict=True)]
    return sum(here[:targets]) / sum(here) if sum(here) else 0.0
