"""Initialisations of new rows on two languages and two bases, tied and untied.

    python bench/embeddings.py DATA_DIR OUT [--seeds 2] [--steps 60] [--row-steps 120]
    python bench/embeddings.py DATA_DIR OUT --table

Each line of CASES is one `python -m training.compare_embeddings` in its own folder of
OUT; what is there is not run again. The first seed of every case comes before the
second of any. "acquainted": the base has read some of the language first, with its own
tokenizer, as a multilingual base has.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXTS = {"kk": "kazakh/corpus.txt", "sw": "swahili/corpus.txt"}
PROTECTED = "english/c4.jsonl"
# base, language, untied copy, steps in which the base gets to know the language
CASES = [
    ("stories260K", "sw", True, 100),
    ("stories260K", "kk", True, 100),
    ("stories260K", "sw", False, 100),
    ("stories260K", "kk", False, 100),
    ("stories260K", "kk", True, 0),
    ("babyllama-tok361-1M", "sw", True, 100),
    ("babyllama-tok361-1M", "kk", False, 100),
    ("stories260K", "sw", True, 0),
    ("babyllama-tok361-1M", "kk", True, 100),
    ("babyllama-tok361-1M", "sw", False, 100),
]


def main() -> None:
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--row-steps", type=int, default=120)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        for case in CASES:
            path = folder(options.out, *case) / "table.md"
            if path.is_file():
                print(f"### {title(*case)}\n\n{path.read_text()}")
        return
    for seed in range(1, options.seeds + 1):
        for case in CASES:
            run(options, *case, seeds=list(range(1, seed + 1)))


def folder(out: Path, base: str, language: str, untied: bool, acquaint: int) -> Path:
    """Where a case is kept."""
    head = "untied" if untied else "tied"
    return out / f"{base}-{language}-{head}-{acquaint}"


def title(base: str, language: str, untied: bool, acquaint: int) -> str:
    """What a case is, in words."""
    head = "untied copy" if untied else "tied"
    known = f"acquainted for {acquaint} steps" if acquaint else "as it is"
    return f"{base}, {language}, {head}, {known}"


def run(
    options: argparse.Namespace,
    base: str,
    language: str,
    untied: bool,
    acquaint: int,
    *,
    seeds: list[int],
) -> None:
    """One case, for some seeds."""
    into = folder(options.out, base, language, untied, acquaint)
    command = [sys.executable, "-m", "training.compare_embeddings", str(into)]
    command += ["--base", str(options.data / "base-models" / base)]
    command += ["--language", language, "--text", str(options.data / TEXTS[language])]
    command += ["--protected", str(options.data / PROTECTED), "--threads", "1"]
    command += ["--steps", str(options.steps), "--row-steps", str(options.row_steps)]
    command += ["--new-tokens", "500", "--characters", "600000"]
    command += ["--batch-blocks", "8", "--row-batch", "8"]
    command += ["--acquaint", str(acquaint), *(["--untie"] if untied else [])]
    command += ["--seeds", *map(str, seeds)]
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
