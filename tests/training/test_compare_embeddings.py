from __future__ import annotations

from pathlib import Path

import pytest

from training import compare_embeddings
from training.errors import EXIT_FAILED

pytestmark = pytest.mark.slow  # needs torch


def _row(arm: str, seed: int, end: float, **more: object) -> dict:
    def figures(target: float) -> dict:
        return {"target": target, "protected": 2.0, "characters_per_token": 3.0}

    return {
        "arm": arm,
        "seed": seed,
        "row_steps": 0,
        "steps": 5,
        "start": figures(9.0),
        "end": figures(end),
        **more,
    }


ROWS = [
    _row("far", 1, 4.0),
    _row("far", 2, 4.2),
    _row("near", 1, 3.0),
    _row("near", 2, 3.2),
    _row("next", 1, 3.15),
    _row("next", 2, 3.25),
    _row("keep (bytes)", 1, 1.0),
]


def test_the_best_arm_comes_first_with_its_spread() -> None:
    text = compare_embeddings.report(ROWS)
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert [line.split(" | ")[0] for line in lines] == [
        "| keep (bytes)",
        "| near",
        "| next",
        "| far",
    ]
    assert "3.100 ± 0.100" in lines[1]


def test_a_ranking_says_what_it_means_and_calls_ties_equal() -> None:
    """`next` lies within the seeds of `near`, `far` does not; budgets are not mixed."""
    text = compare_embeddings.report(ROWS)
    assert (
        "Target bits per byte (lower is better), after equal steps: near = next, "
        "then far." in text
    )
    for words in ("Protected bits per byte", "Characters per token"):
        assert words in text
    assert "keep (bytes)" not in text[text.index("- Target") :]


def test_a_missing_text_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path), "--base", str(tmp_path), "--language", "sw"]
    arguments += ["--text", "none.txt", "--protected", "none.txt"]
    assert compare_embeddings.main(arguments) == EXIT_FAILED
    assert "none.txt is not there" in capsys.readouterr().err
