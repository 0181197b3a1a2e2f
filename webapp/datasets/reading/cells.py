"""What stands in one cell of a table, or in one field of a record."""

from __future__ import annotations

import ast
import json
from typing import Any


def joined(value: Any) -> Any:
    """A list of strings, also one written as text ("['a', 'b']"), as one string."""
    parts = value_of(value)
    if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
        return ", ".join(part.strip() for part in parts)
    return value


def value_of(value: Any) -> Any:
    """A list or object written as text, as what it is; anything else as it stands."""
    if (
        not isinstance(value, str)
        or value[:1] not in ("[", "{")
        or len(value) > 100_000
    ):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
