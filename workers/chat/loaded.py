"""Models in memory: loaded when first asked, given back when idle.

A model stands by itself, its additions in its weights. When a second one over the same
base is asked for, both become adapters over one copy of it (shared.py). One answer is
written at a time, others wait their turn: two at once on the same cores or the same card
would only slow each other down.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from training.data import romanise
from training.data.builders.taco import final_answer_only
from training.errors import InputMissing
from training.generate import Generator
from workers.chat.shared import Parts, SharedBase, parts_of

log = logging.getLogger(__name__)


class TooLarge(Exception):
    """The model does not fit into memory."""


def as_taught(folder: Path, messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages in the letters that a model was taught in: Latin ones where its folder
    has the table of a romanisation. Without the library they stay as they are."""
    if not (folder / romanise.FILE).is_file():
        return messages
    try:
        return [
            {**message, "content": romanise.romanise(message["content"])}
            for message in messages
        ]
    except InputMissing as problem:
        log.warning("%s %s", problem.sentence, problem.hint)
        return messages


class LoadedModels:
    """The few models that are in memory, least recently used first out.

    `most` models at once (two: base beside adapted), where a base with its adapters
    counts as one; `idle_seconds` without a question
    and a model is given back. `busy()` says whether training wants the memory: then
    `idle_seconds_when_busy` applies.
    """

    def __init__(
        self,
        *,
        most: int = 2,
        idle_seconds: float = 600,
        idle_seconds_when_busy: float = 30,
        busy: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.idle_seconds = idle_seconds
        self.idle_seconds_when_busy = idle_seconds_when_busy
        self.busy = busy
        self.clock = clock
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._models: OrderedDict[Path, Generator | SharedBase] = OrderedDict()
        self._used: dict[Path, float] = {}
        self._turn = threading.Lock()

    def answer(
        self,
        folder: Path,
        messages: list[dict[str, str]],
        stop: threading.Event,
        sampling: dict[str, Any],
    ) -> Iterator[str]:
        """Pieces of text; waits for its turn, loads the model if need be."""
        with self._turn:
            if stop.is_set():
                return
            generator = self._get(folder)
            try:
                asked = as_taught(folder, messages)
                written = generator.stream(asked, stop_event=stop, **sampling)
                yield from final_answer_only(written)
            except torch.OutOfMemoryError as problem:
                raise TooLarge from problem
            finally:
                self._used[folder] = self.clock()

    def in_memory(self) -> list[Path]:
        """Folders of the models in memory."""
        return list(self._models)

    def give_back(self) -> int:
        """Drop models that nobody used for a while; returns how many."""
        limit = self.idle_seconds_when_busy if self.busy() else self.idle_seconds
        if not self._turn.acquire(blocking=False):
            return 0  # somebody is being answered; the next round is soon enough
        try:
            now = self.clock()
            idle = [f for f in self._models if now - self._used[f] >= limit]
            for folder in idle:
                self._drop(folder)
            return len(idle)
        finally:
            self._turn.release()

    def _get(self, folder: Path) -> Generator:
        if folder not in self._models:
            try:
                self._load(folder)
            except (torch.OutOfMemoryError, MemoryError) as problem:
                raise TooLarge from problem
            log.info("loaded %s", folder)
        self._models.move_to_end(folder)
        self._used[folder] = self.clock()
        model = self._models[folder]
        return model.generator(folder) if isinstance(model, SharedBase) else model

    def _load(self, folder: Path) -> None:
        """Load a model by itself, or beside others over the base that they share."""
        parts = parts_of(folder)
        alike = parts and self._over_the_same(parts)
        if not parts or not alike:
            while self._whole() >= self.most:
                self._drop_oldest()
            self._models[folder] = Generator.load(folder, self.device)
            return
        other = self._models[alike]
        if isinstance(other, Generator):
            self._drop(alike)  # the base takes its place
            known = parts_of(alike)
            assert known
            other = SharedBase(alike, known, self.device)
            self._models[alike], self._used[alike] = other, self.clock()
        other.add(folder, parts)
        self._models[folder] = other

    def _over_the_same(self, parts: Parts) -> Path | None:
        """A model in memory whose adapter belongs to the same base."""
        for folder in self._models:
            known = parts_of(folder)
            if known and parts.same_base(known):
                return folder
        return None

    def _whole(self) -> int:
        """Models and bases in memory, adapters not counted."""
        return len({id(model) for model in self._models.values()})

    def _drop_oldest(self) -> None:
        """Give back the least recently used model, or base with all its adapters."""
        oldest = next(iter(self._models.values()))
        for folder in [f for f, model in self._models.items() if model is oldest]:
            self._drop(folder)

    def _drop(self, folder: Path) -> None:
        model = self._models.pop(folder)
        del self._used[folder]
        if isinstance(model, SharedBase):
            model.remove(folder)
        del model
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        log.info("gave back %s", folder)
