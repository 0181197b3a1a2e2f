"""Five languages on two bases, with and without new vocabulary, at equal text.

    python bench/languages.py DATA_DIR OUT.jsonl [--bases stories260K base-en]
                              [--languages kk ...] [--read 1.0] [--megabytes 2]

Every arm is one `manage.py adapt`: at most so many megabytes of the corpus, so many of
them read (several passes over a smaller corpus), 25 % English replay, the same held-out
text. An arm that is already in OUT.jsonl is not run again.
`--table` prints what is there as Markdown.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from arms import ROOT, adapt, append, read

CORPORA = {
    "bo": ("Tibetan", "tibetan/corpus-nanhai.txt"),
    "kk": ("Kazakh", "kazakh/corpus.txt"),
    "ug": ("Uyghur", "uyghur/corpus.txt"),
    "sw": ("Swahili", "swahili/corpus.txt"),
    "bn": ("Bengali", "bengali/corpus.txt"),
}
REPLAY = "english/wiki.txt"
ARMS = {"extended": "continued_bpe", "kept": "keep"}


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bases", nargs="+", default=["stories260K", "base-en"])
    parser.add_argument("--languages", nargs="+", default=list(CORPORA))
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--read", type=float, default=1.0, help="megabytes read")
    parser.add_argument("--megabytes", type=float, default=2.0, help="of the corpus")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read(options.out)))
        return
    for base in options.bases:
        for language in options.languages:
            for arm in options.arms:
                done = {(r["base"], r["language"], r["arm"]) for r in read(options.out)}
                if (base, language, arm) not in done:
                    append(options.out, run(options, base, language, arm))


def run(options: argparse.Namespace, base: str, language: str, arm: str) -> dict:
    """One arm; returns its report with what was asked."""
    folder = options.data / "base-models" / base
    if base == "base-en":
        folder = ROOT / "samples" / "base-en"
    with tempfile.TemporaryDirectory() as place:
        text = Path(place) / f"{language}.txt"
        whole = (options.data / CORPORA[language][1]).read_bytes()
        cut = whole[: int(options.megabytes * 1_000_000)]
        cut = cut[: cut.rfind(b"\n") + 1] or cut
        text.write_bytes(cut)
        passes = round(options.read * 1_000_000 / len(cut), 3)
        settings = {
            "extend_vocabulary.method": ARMS[arm],
            "continue_pretraining.epochs": passes,
            "continue_pretraining.minutes": 600,
            "continue_pretraining.evaluations": 1,
        }
        asked = ["--language", language, "--base", str(folder), "--text", str(text)]
        asked += ["--protect", str(options.data / REPLAY), "--recipe", "default"]
        environment = dict(os.environ)
        if options.threads:
            environment["OMP_NUM_THREADS"] = str(options.threads)
        started = time.monotonic()
        row = adapt(asked, settings, environment)
    return {
        "base": base,
        "language": language,
        "arm": arm,
        "passes": passes,
        "bytes": len(cut),
        "wall_seconds": round(time.monotonic() - started, 1),
        **{name: row[name] for name in ("tokenizer", "bits_per_byte", "seconds")},
    }


def table(rows: list[dict]) -> str:
    """Markdown, one line an arm."""
    lines = [
        "| base | language | tokenizer | characters/token | target bits/byte "
        "| English bits/byte | pretraining s | total s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (r["base"], r["language"], r["arm"])):
        before, after = row["tokenizer"]["before"], row["tokenizer"]["after"]
        target = row["bits_per_byte"]["target"]
        english = row["bits_per_byte"]["protected"]
        change = (english["after"] / english["before"] - 1) * 100
        seconds = row["seconds"]
        lines.append(
            f"| {row['base']} | {CORPORA[row['language']][0]} | {row['arm']} "
            f"| {before['characters_per_token']:.2f} → "
            f"{after['characters_per_token']:.2f} "
            f"| {target['before']:.2f} → {target['after']:.3f} "
            f"| {english['before']:.3f} → {english['after']:.3f} ({change:+.1f} %) "
            f"| {seconds['stages']['continue_pretraining']:.0f} "
            f"| {seconds['total']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
