"""What the plan is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from webapp.jobs.planning import constants as c

GOALS = ("answer", "translate", "write")


@dataclass(frozen=True)
class RowLengths:
    """The rows of a dataset that examples are made of. `role` as in Data; the `longest`
    in tokens of the base's tokenizer; `taught` is the part of that which is in the
    language taught: 1, a half of translations, or 0."""

    role: str
    longest: int
    taught: float


@dataclass(frozen=True)
class Situation:
    """The answers and what is known of base, text and devices.

    Bytes and characters are those of the text itself; rows are counted; `minutes` is
    the whole time the person gives; `goal` is one of GOALS; `characters_per_token` is
    what the base's tokenizer makes of the target text, None where not tried;
    `final_learning_rate` is where the base's own training ended, 0 unknown; `devices`
    are {"kind", "name", "memory_bytes"} of the hosts that could run it; `available` are
    the roles of data and the resources that there are, None where the counts tell;
    `rows_of_examples`: how long the rows are that are asked and answered, none where not
    known; `seconds_per_example` is what an example of a tuning took on the same base
    before, 0 unknown; `faster`: that it writes fast and cheaply counts for more than how
    well;
    `knows`: the base writes the language already, however it cuts it.
    """

    passport: dict[str, Any]
    language: str
    target_bytes: int = 0
    target_characters: int = 0
    protected_bytes: int = 0
    parallel_rows: int = 0
    instruction_rows: int = 0
    preference_rows: int = 0
    dictionary_rows: int = 0
    related_bytes: int = 0
    minutes: float = 10.0
    goal: str = "answer"
    characters_per_token: float | None = None
    final_learning_rate: float = 0.0
    rows_of_examples: tuple[RowLengths, ...] = ()
    seconds_per_example: float = 0.0
    devices: tuple[dict[str, Any], ...] = field(default=())
    available: frozenset[str] | None = None
    faster: bool = False
    knows: bool = False

    @property
    def has(self) -> frozenset[str]:
        """Roles of data and resources that there are (`recipe.NEEDS` without answers)."""
        if self.available is not None:
            return self.available
        counts = {
            "target": self.target_characters,
            "protected": self.protected_bytes,
            "parallel": self.parallel_rows,
            "instructions": self.instruction_rows,
            "preferences": self.preference_rows,
            "dictionary": self.dictionary_rows,
            "related": self.related_bytes,
        }
        return frozenset(role for role, count in counts.items() if count)

    @property
    def parameters(self) -> int:
        """Weights of the base; a passport without the number counts as small."""
        return int(self.passport.get("parameters") or c.MILLION)

    @property
    def rows(self) -> int:
        """Rows of the embedding."""
        return int(
            self.passport.get("rows") or self.passport.get("vocabulary") or 32_000
        )

    @property
    def positions(self) -> int:
        """The longest text the base can read, in tokens."""
        return int(self.passport.get("positions") or 2_048)

    @property
    def gpu(self) -> bool:
        """Whether a host with a GPU could run it."""
        return any(device.get("kind") == "cuda" for device in self.devices)

    @property
    def examples(self) -> int:
        """Rows that can become questions with answers."""
        return self.parallel_rows + self.instruction_rows

    @property
    def tunes(self) -> bool:
        """Whether there is anything to learn answering from, and it is wanted."""
        return self.examples > 0 and self.goal != "write"

    @property
    def target_tokens(self) -> int:
        """The target text in tokens, as the tokenizer will probably cut it."""
        per_token = max(
            self.characters_per_token or c.GUESSED_CHARACTERS_PER_TOKEN,
            c.GUESSED_CHARACTERS_PER_TOKEN,
        )
        return int(self.target_characters / per_token)


@dataclass(frozen=True)
class Choice:
    """One derived setting: `setting` is "stage.name", `source` may be empty."""

    setting: str
    value: Any
    reason: str
    source: str = ""


@dataclass(frozen=True)
class Reason:
    """A sentence and where it comes from."""

    sentence: str
    source: str = ""


def by_size(table: tuple[tuple[Any, ...], ...], parameters: int) -> tuple[Any, ...]:
    """The first row whose limit is above `parameters`, without the limit."""
    return next(row[1:] for row in table if parameters < row[0])
