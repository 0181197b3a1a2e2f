"""Asking a service or a model for many texts: nothing twice, in order, until the time is
over."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

AT_ONCE = 8  # questions that wait for a service

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Cache:
    """What was answered, in a file of JSON lines, so that a stopped run goes on and asks
    for nothing twice."""

    def __init__(self, path: Path, name: str) -> None:
        """`name` says who answers: another one has its own entries."""
        self.path, self.name = path, name
        self.lock = Lock()
        self.found: dict[str, str] = {}
        if path.is_file():
            for line in path.read_bytes().splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # a line cut short by a crash
                self.found[entry["key"]] = entry["text"]

    def get(self, question: list[Any], ask: Callable[[], str]) -> str:
        """The answer to a question (any JSON), asked for where it is not known yet."""
        plain = json.dumps([self.name, *question], ensure_ascii=False)
        key = hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()
        if key not in self.found:
            text = ask()
            line = json.dumps({"key": key, "text": text}, ensure_ascii=False)
            with self.lock:
                with self.path.open("ab+") as file:
                    # A line cut short must not swallow this one.
                    whole = not file.tell() or _last_byte(file) == b"\n"
                    file.write(
                        (b"" if whole else b"\n")
                        + line.encode("utf-8", "replace")
                        + b"\n"
                    )
                self.found[key] = text
        return self.found[key]


def _last_byte(file: Any) -> bytes:
    file.seek(-1, 2)
    return file.read(1)


def in_order(
    items: Sequence[Item],
    work: Callable[[Item], Answer],
    *,
    seconds: float = float("inf"),
    stopped: Callable[[], bool] = lambda: False,
    workers: int = AT_ONCE,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Answer], int]:
    """The work on every item, `workers` at once, in the order of the items, until the
    time is over or a stop is asked for; and how many items were not begun."""
    began = clock()
    found: list[Answer] = []
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), workers):
            if stopped() or clock() - began > seconds:
                break
            found += pool.map(work, items[start : start + workers])
    return found, len(items) - len(found)
