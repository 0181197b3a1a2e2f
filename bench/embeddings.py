"""Initialisations of new rows on real languages and bases, tied and untied.

    python bench/embeddings.py DATA_DIR OUT [--seeds 3]
    python bench/embeddings.py DATA_DIR OUT --table

Each line of CASES is one `python -m training.compare_embeddings` in its own folder of
OUT; what is there is not run again, and ROUNDS says what comes first. "Acquainted": the
base has read some of the language first, half of it English again, with its own
tokenizer, as a base of several languages has.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from training.compare_embeddings import summary  # noqa: E402

KEEP, LENGTH = "keep", ("end", "characters_per_token")
SAMPLE = "base-en"  # comes with the project
TEXTS = {
    "kk": "kazakh/corpus.txt",
    "sw": "swahili/corpus.txt",
    "en": "english/books/andrew-lang--the-yellow-fairy-book.txt",
}
PROTECTED = "english/c4.jsonl"
PROTECTED_CHARACTERS = 250_000
MAIN = ("mean", "mean_first", "distil", "next_token_rows")
ALL = (*MAIN, "global_mean", "random")
# Peak rate: 0.1 / width, as in the measurements that are repeated here.
RATES = {"stories260K": 0.0016, "babyllama-tok361-1M": 0.0008, SAMPLE: 0.0004}


@dataclass(frozen=True)
class Case:
    """A base, a language, the head, steps in which the base gets to know the language."""

    base: str
    language: str
    untied: bool
    acquaint: int = 300

    @property
    def folder(self) -> str:
        """Its name in OUT."""
        head = "untied" if self.untied else "tied"
        return f"{self.base}-{self.language}-{head}-{self.acquaint}"

    @property
    def title(self) -> str:
        """What it is but for the language, in words."""
        head = "untied copy" if self.untied else "tied"
        known = f"acquainted for {self.acquaint} steps" if self.acquaint else "as it is"
        return f"{self.base}, {head}, {known}"


SMALL = [
    Case("stories260K", "sw", untied=True),
    Case("stories260K", "kk", untied=True),
    Case("stories260K", "sw", untied=False),
    Case("stories260K", "kk", untied=False),
]
LARGER = [
    Case("babyllama-tok361-1M", "sw", untied=True),
    Case("babyllama-tok361-1M", "kk", untied=False),
    Case("babyllama-tok361-1M", "kk", untied=True),
    Case("babyllama-tok361-1M", "sw", untied=False),
]
# The teacher of distillation: English, of a kind that an English base has not read; and
# a base that has read more of the language.
KNOWN = [
    Case("stories260K", "en", untied=True, acquaint=0),
    Case(SAMPLE, "en", untied=True, acquaint=0),
]
LONGER = [
    Case("stories260K", "sw", untied=True, acquaint=1500),
    Case("stories260K", "kk", untied=True, acquaint=1500),
]
CASES = [*SMALL, *LARGER, *KNOWN, *LONGER]
FOUR_BY_TWO = [*SMALL, *LARGER]
# What is run in which order: cases, methods, seeds. What matters most comes first.
ROUNDS = [
    (FOUR_BY_TWO, ALL, 1),
    (KNOWN[:1], MAIN, 2),
    (FOUR_BY_TWO, ALL, 2),
    (FOUR_BY_TWO, ALL, 3),
    (KNOWN[:1], MAIN, 3),
    (LONGER, MAIN, 3),
    (KNOWN, MAIN, 3),
]


def main() -> None:
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--row-steps", type=int, default=80)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print("\n\n".join(tables(options.out)))
        return
    for cases, methods, seeds in ROUNDS:
        for case in cases:
            run(options, case, methods, seeds=min(seeds, options.seeds))


def run(
    options: argparse.Namespace, case: Case, methods: tuple[str, ...], *, seeds: int
) -> None:
    """One case with some methods, seeds 1 to `seeds`."""
    base = options.data / "base-models" / case.base
    if case.base == SAMPLE:
        base = ROOT / "samples" / SAMPLE
    command = [sys.executable, "-m", "training.compare_embeddings"]
    command += [str(options.out / case.folder), "--base", str(base)]
    command += ["--language", case.language]
    command += ["--text", str(options.data / TEXTS[case.language])]
    command += ["--protected", str(protected(options)), "--threads", "1"]
    command += ["--steps", str(options.steps), "--row-steps", str(options.row_steps)]
    command += ["--new-tokens", "500", "--characters", "600000"]
    command += ["--batch-blocks", "8", "--row-batch", "8"]
    command += ["--learning-rate", str(RATES[case.base])]
    command += ["--acquaint", str(case.acquaint), "--acquaint-replay", "0.5"]
    command += ["--untie"] if case.untied else []
    command += ["--methods", *methods, "--seeds", *map(str, range(1, seeds + 1))]
    subprocess.run(command, cwd=ROOT, check=True)


def tables(out: Path) -> list[str]:
    """A table for each base, head and acquaintance, with its languages side by side."""
    groups: dict[tuple[str, bool, int], list[Case]] = {}
    for case in CASES:
        if (out / case.folder / "results.jsonl").is_file():
            groups.setdefault((case.base, case.untied, case.acquaint), []).append(case)
    return [table(out, cases) for cases in groups.values()]


def table(out: Path, cases: list[Case]) -> str:
    """Target: start, after taught rows, end with half of the seeds' spread and how many
    there are; protected at the end."""
    found = []
    for case in cases:
        lines = (out / case.folder / "results.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        names = dict.fromkeys(row["arm"] for row in rows)
        found.append({name: summary(name, rows) for name in names})
    lengths = "; ".join(
        f"{case.language} {of[KEEP][LENGTH][0]:.2f} to {of['mean'][LENGTH][0]:.2f}"
        for case, of in zip(cases, found, strict=True)
        if "mean" in of
    )
    lines = [f"**{cases[0].title}**; characters per token: {lengths}", ""]
    head = [f"{case.language}, target | protected" for case in cases]
    lines.append("| arm | " + " | ".join(head) + " |")
    lines.append("|---" * (1 + 2 * len(cases)) + "|")
    first = found[0]
    order = sorted(first, key=lambda name: first[name]["end", "target"][0])
    order += [name for of in found for name in of if name not in first]
    for name in dict.fromkeys(order):
        cells = [cell(of[name]) if name in of else " | " for of in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(one: dict[Any, Any]) -> str:
    """An arm's figures of one case."""
    moments = [one[moment, "target"] for moment in ("start", "rows")]
    before = "".join(f"{mean:.3f} → " for mean, _ in filter(None, moments))
    end, spread = one["end", "target"]
    wide = f" ± {spread / 2:.3f}" if one["seeds"] > 1 else ""
    kept = f"{one['end', 'protected'][0]:.2f}"
    return f"{before}**{end:.3f}**{wide} ({one['seeds']}) | {kept}"


def protected(options: argparse.Namespace) -> Path:
    """The beginning of the protected text, as a file of its own."""
    into = options.out / f"protected-{Path(PROTECTED).stem}.txt"
    if not into.is_file():
        lines = (options.data / PROTECTED).read_text(encoding="utf-8").splitlines()
        text = "\n".join(json.loads(line)["text"] for line in lines)
        options.out.mkdir(parents=True, exist_ok=True)
        into.write_text(text[:PROTECTED_CHARACTERS], encoding="utf-8")
    return into


if __name__ == "__main__":
    main()
