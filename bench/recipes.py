"""What ways of training learn and forget: recipes of the gallery side by side.

    python bench/recipes.py OUT.jsonl [--steps 64] [--seeds 1 2] [--arms NAME ...]
    python bench/recipes.py OUT.jsonl --table

Everything is in samples/: the bundled base reads the bundled Swahili, and English stories
like those it was trained on are measured. Every arm is one `manage.py adapt` of so many
steps of equal size, without replay unless its name says so, without learning to answer.
An arm that is already in OUT.jsonl is not run again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path

from arms import ROOT, adapt, append, read

SAMPLES = ROOT / "samples"
REPLAY = "continue_pretraining.replay_share"
STEPS = "continue_pretraining.steps"
# arm: (recipe, settings that differ from it)
KEPT = (
    "keep-tokenizer",
    "half-fine-tuning",
    "lisa",
    "branch-and-merge",
    "checkpoint-averaging",
    "ks-lottery",
    "lora-keep",
    "icelandic",
    "icelandic-bottleneck",
    "icelandic-last-layers",
    "small-models",
)
EXTENDED = (
    "default",
    "lora",
    "layer-selection",
    "embeddings-only",
    "active-forgetting",
)
ARMS: dict[str, tuple[str, dict[str, float]]] = {
    **{name: (name, {REPLAY: 0}) for name in KEPT + EXTENDED},
    "keep-tokenizer, replay 25 %": ("keep-tokenizer", {REPLAY: 0.25}),
    "default, replay 25 %": ("default", {REPLAY: 0.25}),
}


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read(options.out)))
        return
    for seed in options.seeds:
        for arm in options.arms:
            if (arm, seed) not in {
                (row["arm"], row["seed"]) for row in read(options.out)
            }:
                append(options.out, run(arm, seed, options.steps))


def run(arm: str, seed: int, steps: int) -> dict:
    """One arm: bits per byte and seconds of reading."""
    recipe, settings = ARMS[arm]
    options = ["--language", "sw", "--base", str(SAMPLES / "base-en"), "--text"]
    options += [str(path) for path in sorted((SAMPLES / "swahili").glob("*.txt"))]
    options += ["--protect", str(SAMPLES / "english/stories.txt")]
    options += ["--recipe", recipe, "--seed", str(seed), "--minutes", "60"]
    found = adapt(options, {STEPS: steps, **settings})
    return {
        "arm": arm,
        "seed": seed,
        "steps": steps,
        "bits_per_byte": found["bits_per_byte"],
        "characters_per_token": found["tokenizer"]["after"]["characters_per_token"],
        "seconds": found["seconds"]["stages"]["continue_pretraining"],
    }


def table(rows: list[dict]) -> str:
    """Markdown, a line an arm, by what was learned."""
    lines = [
        "| recipe | characters/token | Swahili bits/byte | English bits/byte | |",
        "|---|---|---|---|---|",
        *(line for _, line in sorted(_lines(rows))),
    ]
    return "\n".join(lines)


def _lines(rows: list[dict]) -> Iterator[tuple[float, str]]:
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        bits = [row["bits_per_byte"] for row in mine]
        target = [b["target"]["after"] for b in bits]
        english = [b["protected"]["after"] for b in bits]
        before = bits[0]["protected"]["before"]
        change = 100 * (statistics.mean(english) / before - 1)
        yield (
            statistics.mean(target),
            f"| {arm} | {mine[0]['characters_per_token']:.2f} "
            f"| {bits[0]['target']['before']:.2f} → {_values(target)} "
            f"| {before:.3f} → {_values(english)} | {change:+.1f} % |",
        )


def _values(values: list[float]) -> str:
    """The mean, and how far the seeds lie apart."""
    spread = f" (±{(max(values) - min(values)) / 2:.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
