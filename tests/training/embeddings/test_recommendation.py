"""What a comparison says to do, and that it says nothing that the seeds do not bear."""

from __future__ import annotations

from typing import Any

import pytest

from training.compare_embeddings import report


def rows(**arms: tuple[float, ...]) -> list[dict[str, Any]]:
    """Lines of results: the target's bits per byte of each seed; "__x" is " (x)"."""
    lines = []
    for name, values in arms.items():
        method, _, budget = name.partition("__")
        length = 1.5 if method == "keep" else 3.0
        for seed, bits in enumerate(values):
            end = {"target": bits, "protected": 2.0, "characters_per_token": length}
            lines.append(
                {
                    "arm": f"{method} ({budget})" if budget else method,
                    "seed": seed,
                    "row_steps": 0,
                    "steps": 10,
                    "start": end,
                    "end": end,
                }
            )
    return lines


CASES = [
    # At equal text a clear gap decides, whichever way.
    ({"keep__bytes": (2.1, 2.11), "mean": (2.4, 2.41)}, "Keep the tokenizer"),
    ({"keep__bytes": (2.6, 2.61), "mean": (2.4, 2.41)}, "Extend: 2.605"),
    # The same gap within the spread does not; then the shorter text does.
    ({"keep__bytes": (2.2, 2.6), "mean": (2.5, 2.51)}, "Extend, for speed"),
    ({"keep__bytes": (2.1, 2.11), "mean": (2.4, 2.41)}, "2.0 times as much text"),
    # A gap that nobody would notice decides nothing, even where seeds agree.
    ({"keep__bytes": (2.4, 2.4), "mean": (2.408, 2.408)}, "Extend, for speed"),
    # Starts that the seeds do not tell apart are named together, the best first.
    (
        {"mean": (2.40, 2.44), "mean_first": (2.41, 2.42), "random": (2.9, 2.9)},
        "begin best as mean_first or mean, which",
    ),
    ({"mean": (2.40, 2.41), "random": (2.9, 2.9)}, "begin best as mean."),
    # Taught rows must beat the same tokens spent on everything, by more than chance.
    (
        {"mean": (2.6, 2.6), "mean__total": (2.5, 2.52), "distil": (2.4, 2.41)},
        "Teach the new rows first (distil 2.405",
    ),
    (
        {"mean": (2.6, 2.6), "mean__total": (2.3, 2.5), "distil": (2.35, 2.36)},
        "does not pay",
    ),
]


@pytest.mark.parametrize(("arms", "sentence"), CASES)
def test_the_sentence_follows_from_means_and_spread(
    arms: dict[str, tuple[float, ...]], sentence: str
) -> None:
    said = report(rows(keep=(2.5, 2.51), **arms)).splitlines()[-1]
    assert sentence in said
    assert "one seed" not in said


def test_one_seed_is_called_one_seed() -> None:
    said = report(rows(keep=(2.1,), mean=(2.4,)))
    assert "Some arms have one seed only" in said and "seeds differ" not in said
    assert "seeds differ by 0.010" in report(rows(keep=(2.1, 2.11), mean=(2.4, 2.4)))


def test_taught_rows_are_not_held_against_a_control_that_read_less() -> None:
    arms = {"keep__bytes": (2.5, 2.51), "mean": (2.6, 2.61), "distil": (2.3, 2.31)}
    said = report(rows(keep=(2.7, 2.71), **arms))
    assert "Keep the tokenizer" in said and "(mean)" in said


def test_equal_text_counts_before_equal_tokens() -> None:
    """A control that read fewer bytes would make new tokens look better than they are."""
    arms = {"keep": (2.6, 2.61), "mean": (2.4, 2.41)}
    assert "Extend: " in report(rows(**arms))
    assert "Keep the tokenizer" in report(rows(keep__bytes=(2.2, 2.21), **arms))


def test_nothing_measured_and_nothing_compared() -> None:
    assert report([]) == "Nothing has been measured yet.\n"
    assert "No way to begin" in report(rows(keep=(2.1, 2.2)))
