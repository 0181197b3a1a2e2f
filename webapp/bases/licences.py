"""The licence that a model folder names: the front matter of its card (README.md)."""

from __future__ import annotations

from pathlib import Path

LONGEST_CARD = 65_536  # bytes; the front matter stands first
LONGEST_LICENCE = 200  # characters; what a base's row holds
MARK = "---"


def stated_licence(folder: Path) -> str:
    """What stands after `license:`, several joined by commas; empty where nothing does.

    A name that the hub's list lacks stands in license_name.
    """
    try:
        with (folder / "README.md").open("rb") as file:
            lines = file.read(LONGEST_CARD).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    if not lines or lines[0].strip() != MARK:
        return ""
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines[1:]:
        if line.strip() == MARK:
            break
        if line.lstrip().startswith("- ") and name:
            found[name].append(_bare(line.lstrip()[2:]))
        elif not line.startswith((" ", "\t")):
            name, _colon, value = line.partition(":")
            found[name] = [_bare(part) for part in value.strip().strip("[]").split(",")]
    told = [part for part in found.get("license", []) if part]
    if told == ["other"]:
        told = [part for part in found.get("license_name", []) if part] or told
    return ", ".join(told)[:LONGEST_LICENCE]


def _bare(value: str) -> str:
    return value.strip().strip("\"'")
