"""How far a loop has got, and how fast: progress events. Standard library only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from training.events import EventWriter

SECONDS_BETWEEN_EVENTS = 1.0
WARMUP_STEPS_NOT_TIMED = 3
# Speeds follow the last hundred steps or so: each step counts this much less than the
# next one.
FADE = 0.99


class Progress:
    """Progress events at most once a second, with speeds that leave pauses out.

    `total` steps are made and `evaluations` measurements, each of so many seconds.
    """

    def __init__(
        self,
        events: EventWriter,
        stage: str,
        total: int,
        *,
        evaluations: int = 0,
        seconds_per_evaluation: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.events = events
        self.stage = stage
        self.total = total
        self.seconds_measuring = evaluations * seconds_per_evaluation
        self.clock = clock
        self.last_step = clock()
        self.last_event = -math.inf
        self.seen = 0
        self.seconds = self.tokens = self.bytes = self.counted = 0.0

    def step(
        self, step: int, *, loss: float, rate: float, tokens: float, bytes: float
    ) -> None:
        """Count a step over so many tokens and bytes of text; write an event if the last
        one is old enough."""
        now = self.clock()
        self.seen += 1
        if self.seen > WARMUP_STEPS_NOT_TIMED:
            self.seconds = FADE * self.seconds + now - self.last_step
            self.tokens = FADE * self.tokens + tokens
            self.bytes = FADE * self.bytes + bytes
            self.counted = FADE * self.counted + 1
        self.last_step = now
        if now - self.last_event < SECONDS_BETWEEN_EVENTS and step != self.total:
            return
        self.last_event = now
        self.events.write(
            "progress",
            stage=self.stage,
            step=step,
            total=self.total,
            seconds_left=self._seconds_left(step),
            metrics={
                "loss": round(loss, 6),
                "learning_rate": rate,
                "tokens_per_second": self._speed(self.tokens),
                "bytes_per_second": self._speed(self.bytes),
            },
        )

    def pause(self) -> None:
        """Leave out the time since the last step: it was not for learning."""
        self.last_step = self.clock()

    def _speed(self, amount: float) -> float | None:
        """A second; None while too few steps were timed, or by a coarse clock."""
        return round(amount / self.seconds, 1) if self.seconds else None

    def _seconds_left(self, step: int) -> float | None:
        if not self.counted:
            return None
        left = self.total - step
        measuring = left / self.total * self.seconds_measuring
        return round(left * self.seconds / self.counted + measuring, 1)
