"""Ids that configurations name, and where they go when ids are given anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENDING = "_token_id"
# Lists of ids in a generation configuration.
LISTS = ("suppress_tokens", "begin_suppress_tokens")


def named(values: Mapping[str, Any]) -> set[int]:
    """The ids that a configuration names as the beginning, end, padding and so on."""
    found: set[int] = set()
    for name, value in values.items():
        if name.endswith(ENDING):
            listed = value if isinstance(value, list) else [value]
            found.update(id_ for id_ in listed if isinstance(id_, int) and id_ >= 0)
    return found


def renumbered(
    values: Mapping[str, Any], numbering: Mapping[int, int]
) -> dict[str, Any]:
    """The configuration with its ids given anew.

    A special id that nobody has stays as it is; a suppressed one that is gone goes.
    """
    changed = dict(values)
    for name, value in values.items():
        if name in LISTS and isinstance(value, list):
            changed[name] = [numbering[id_] for id_ in value if id_ in numbering]
        elif name.endswith(ENDING) and isinstance(value, list):
            changed[name] = [numbering.get(id_, id_) for id_ in value]
        elif name.endswith(ENDING) and isinstance(value, int):
            changed[name] = numbering.get(value, value)
    return changed
