from __future__ import annotations

from pathlib import Path

from tests.training import tiny
from training.data.contamination import Guard
from training.data.row_split import divide_rows, write_all
from training.data.rows import read_rows
from training.spec import Corpus


def _pairs(path: Path, rows: list[dict]) -> Corpus:
    tiny.write_rows(path, rows)
    return Corpus(str(path), "parallel", ("en", "kk"))


def _read(folder: Path, part: str) -> list[dict]:
    return list(read_rows(folder / f"parallel-{part}.jsonl"))


def test_rows_keep_their_order_and_repeat_no_row(tmp_path: Path) -> None:
    rows = [{"source": f"cat {n}", "target": f"мысық {n}"} for n in range(100)]
    corpus = _pairs(tmp_path / "p.jsonl", rows + rows[:9])
    counts, left_out = divide_rows(tmp_path, "parallel", [corpus], 1, Guard())
    assert (counts, left_out) == ({"train": 96, "held_out": 4}, 0)
    numbers = [int(row["source"].split()[1]) for row in _read(tmp_path, "train")]
    assert numbers == sorted(numbers)


def test_one_sentence_does_not_lie_on_both_sides(tmp_path: Path) -> None:
    """Four translations of each sentence, as in the Indian corpora."""
    rows = [
        {"source": f"wording {w} of {n}", "target": f"сөйлем {n}"}
        for n in range(60)
        for w in range(4)
    ]
    corpus = _pairs(tmp_path / "p.jsonl", rows)
    counts, left_out = divide_rows(tmp_path, "parallel", [corpus], 1, Guard())
    held_out = {row["target"] for row in _read(tmp_path, "held_out")}
    assert held_out.isdisjoint(row["target"] for row in _read(tmp_path, "train"))
    # Dividing by rows alone leaves the other translations to be learned.
    assert left_out >= 2 * len(held_out) > 0
    assert sum(counts.values()) + left_out == len(rows)


def test_rows_with_held_out_sentences_are_left_out(tmp_path: Path) -> None:
    said = "Осы сөйлем ешкімге үйретілмейді"
    rows = [{"source": f"cat {n}", "target": f"мысық {n}"} for n in range(20)]
    rows.append({"source": "hidden", "target": said})
    corpus = _pairs(tmp_path / "p.jsonl", rows)
    for write in (
        lambda guard: divide_rows(tmp_path, "parallel", [corpus], 1, guard),
        lambda guard: write_all(tmp_path, "parallel", [corpus], guard),
    ):
        _, left_out = write(Guard([said + "."]))
        assert left_out == 1
        assert "hidden" not in {row["source"] for row in _read(tmp_path, "train")}
        write(Guard())
        assert "hidden" in {row["source"] for row in _read(tmp_path, "train")}
