from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest

from tests.training import tiny
from training.data.builders import builders
from training.data.builders.material import Instruction, Material, question
from training.data.builders.translation import TranslationStyle, directions
from training.data.builders.wordings import load_wordings
from training.data.conversations import answer_text
from training.data.pairs import Pair, StoredPairs, read_pairs, side_of
from training.data.rows import read_rows


@pytest.mark.parametrize(
    ("languages", "language", "side"),
    [
        (("en", "kk"), "kk", 1),
        (("zh-Hans", "zh-Hant"), "zh-Hant", 1),
        (("fr", "de"), "kk", None),
        # Prepared rows have the job's tags; no tag is guessed here.
        (("kk-Cyrl", "en"), "kk", None),
    ],
)
def test_the_side_of_a_language(
    languages: tuple[str, str], language: str, side: int | None
) -> None:
    assert side_of(languages, language) == side


def test_rows_without_two_sides_are_passed_over() -> None:
    named = {"languages": ["en", "sw"]}
    rows = [
        {"source": " a ", "target": "b", **named},
        {"source": "a", "target": " ", **named},
        {"target": "b", **named},
        {"source": None, "target": "b", **named},
    ]
    (pair,) = read_pairs(rows)
    assert pair == Pair(("en", "sw"), ("a", "b"))
    assert (pair.text("sw"), pair.text("kk")) == ("b", "")


def test_sides_are_told_by_their_tags() -> None:
    pair = Pair(("kk", "en"), ("сөз", "word"))
    assert directions(pair, "kk", "into_target") == [(1, 0)]
    assert directions(pair, "kk", "out_of_target") == [(0, 1)]
    assert directions(pair, "sw", "into_target") == []
    row = {"source": "сөз", "target": "word", "languages": list(pair.languages)}
    assert answer_text(row, "kk") == "сөз"
    assert answer_text(row, "en") == "word"


def _stored(folder: Path, count: int) -> Path:
    rows = [
        {
            "source": f"The cat number {n} of the village sleeps under the old tree.",
            "target": f"Ауылдың {n} мысығы ескі ағаштың түбінде ұйықтап жатыр.",
            "languages": ["en", "kk"],
        }
        for n in range(count)
    ]
    rows.insert(3, {**rows[0], "target": " "})
    path = tiny.write_rows(folder / "pairs.jsonl", rows)
    path.write_text(path.read_text("utf-8").replace("\n", "\n\n", 1), "utf-8")
    return path


def test_stored_pairs_are_the_pairs_of_the_file(tmp_path: Path) -> None:
    path = _stored(tmp_path, 40)
    stored, held = StoredPairs(path), list(read_pairs(read_rows(path)))
    assert len(stored) == len(held) == 40
    assert list(stored) == held and stored[-1] == held[-1] and stored[7] == held[7]
    asked = [Instruction(question(held[3].texts[0], held[5].texts[1]), "en", "3")]
    asked.append(Instruction(question("?", held[9].texts[1]), "kk", "4"))

    def built(pairs: object) -> list[object]:
        material = Material(
            "kk", pairs=pairs, instructions=asked, wordings=load_wordings()
        )
        ways = builders(TranslationStyle(few_shot_share=0.5))
        names = ("translation", "alignment", "cross_lingual")
        dice = random.Random(3)
        return [made for name in names for made in ways[name](material, dice)]

    made = built(stored)
    assert made == built(held)
    assert sum(origin == "cross_lingual" for _, origin in made) == 2


@pytest.mark.slow
def test_pairs_take_no_memory(tmp_path: Path) -> None:
    """Measured in bytes a pair; held as objects they are the control."""
    count = 4_000
    path = _stored(tmp_path, count)

    def bytes_each(make: object) -> float:
        tracemalloc.start()
        kept = make(path)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(kept) == count
        return size / count

    assert bytes_each(StoredPairs) < 20
    assert bytes_each(lambda path: list(read_pairs(read_rows(path)))) > 400
