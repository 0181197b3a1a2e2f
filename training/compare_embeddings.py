"""Rank ways to begin with new tokens, on your own text.

    python -m training.compare_embeddings OUT --base DIR --language sw \
        --text TEXT --protected TEXT [--methods mean distil ...] [--seeds 1 2 3]

One extension of the vocabulary; then for each way bits per byte before any training, and
after training of equal steps on the same text. Run it again to go on. OUT/results.jsonl
has a line for each run, OUT/table.md the tables and a recommendation. `--table` only prints
what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# See training/__main__.py.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from training.embeddings.comparison import DEFAULT_METHODS, METHODS, Comparison, Runner
from training.embeddings.recommendation import recommend
from training.errors import EXIT_FAILED, EXIT_SUCCEEDED, TrainingError

MEASURES = (
    ("target", "Target bits per byte (lower is better)", 1),
    ("protected", "Protected bits per byte (lower is better)", 1),
    ("characters_per_token", "Characters per token (higher is better)", -1),
)
MOMENTS = ("start", "rows", "end")


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing and write the tables; returns the exit code."""
    options = vars(_parser().parse_args(arguments))
    only_table = options.pop("table")
    try:
        runner = Runner(Comparison(**options))
        rows = runner.results()
        if not only_table:
            rows = []
            for row in runner.run():
                rows.append(row)
                end = {name: row["end"][name] for name, *_ in MEASURES}
                sys.stdout.write(f"{row['arm']}, seed {row['seed']}: {end}\n")
                sys.stdout.flush()
    except TrainingError as problem:
        sys.stderr.write(f"{problem.sentence} {problem.hint}\n")
        return EXIT_FAILED
    text = report(rows)
    (runner.out / "table.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return EXIT_SUCCEEDED


def report(rows: Sequence[dict[str, Any]]) -> str:
    """The table of all arms, the three rankings and what follows, as Markdown."""
    found = [summary(name, rows) for name in dict.fromkeys(row["arm"] for row in rows)]
    if not found:
        return "Nothing has been measured yet.\n"
    parts = [table(found), "\n".join(rankings(found)) + "\n"]
    return "\n".join([*parts, " ".join(recommend(found)) + "\n"])


def summary(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread (highest less lowest) of an arm's seeds for every moment."""
    own = [row for row in rows if row["arm"] == name]
    figures: dict[str, Any] = {
        "arm": name,
        "seeds": len(own),
        "row_steps": own[0]["row_steps"],
        "steps": own[0]["steps"],
    }
    for moment in MOMENTS:
        measured = [row[moment] for row in own if moment in row]
        for measure, *_ in MEASURES:
            values = [one[measure] for one in measured]
            figures[moment, measure] = (
                (sum(values) / len(values), max(values) - min(values))
                if values
                else None
            )
    return figures


def table(found: Sequence[dict[str, Any]]) -> str:
    """One line an arm, best target first; figures are means, with the spread of seeds."""
    lines = [
        "| arm | seeds | rows' steps | steps | characters/token | target at the start "
        "| after the rows | **at the end** | protected at the start | after the rows "
        "| at the end |",
        "|" + "---|" * 11,
    ]
    for one in sorted(found, key=lambda one: one["end", "target"][0]):
        cells = [one["arm"], one["seeds"], one["row_steps"], one["steps"]]
        cells.append(_number(one["end", "characters_per_token"], 2, spread=False))
        cells += [
            _number(one[moment, role], 3)
            for role in ("target", "protected")
            for moment in MOMENTS
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def rankings(found: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each of the three measures: arms at equal steps, best first.

    Neighbours that differ by less than the larger of their spreads are called equal.
    """
    sentences = []
    for measure, words, sign in MEASURES:
        moments = ("end",) if measure == "characters_per_token" else ("start", "end")
        for moment in moments:
            order = sorted(
                (one for one in found if "(" not in one["arm"]),
                key=lambda one: sign * one[moment, measure][0],
            )
            when = "before any training" if moment == "start" else "after equal steps"
            sentences.append(f"- {words}, {when}: {_chain(order, (moment, measure))}.")
    return sentences


def _chain(order: Sequence[dict[str, Any]], key: tuple[str, str]) -> str:
    said = ""
    for number, one in enumerate(order):
        if number:
            (mean, spread), (before, other) = one[key], order[number - 1][key]
            said += " = " if abs(mean - before) <= max(spread, other) else " > "
        said += one["arm"]
    return said.replace(" > ", ", then ")


def _number(
    value: tuple[float, float] | None, digits: int, *, spread: bool = True
) -> str:
    if value is None:
        return ""
    mean, width = value
    return f"{mean:.{digits}f}" + (f" ± {width / 2:.3f}" if spread and width else "")


def _parser() -> argparse.ArgumentParser:
    """An option for every field of Comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m training.compare_embeddings", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("out", type=Path)
    parser.add_argument("--table", action="store_true", help="print what is there")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=DEFAULT_METHODS
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=(1, 2))
    types = typing.get_type_hints(Comparison)
    for field in dataclasses.fields(Comparison):
        name, kind = f"--{field.name.replace('_', '-')}", types[field.name]
        kind = next(iter(typing.get_args(kind)), kind)  # Path | None
        if field.name in ("out", "methods", "seeds"):
            continue
        if kind is bool:
            parser.add_argument(name, action="store_true")
        elif field.default is dataclasses.MISSING:
            parser.add_argument(name, type=kind, required=True)
        else:
            parser.add_argument(name, type=kind, default=field.default)
    return parser


if __name__ == "__main__":
    sys.exit(main())
