from __future__ import annotations

from pathlib import Path

from workers.publishing import find_outputs, read_report


def test_the_last_stage_that_left_a_model_counts(tmp_path: Path) -> None:
    assert find_outputs(tmp_path) == (None, None)
    stages = tmp_path / "stages"
    for name in (
        "00-prepare",
        "01-a/model",
        "02-b/adapter",
        "03-c/model",
        "04-evaluate",
    ):
        (stages / name).mkdir(parents=True)
    (stages / "05-d.part/model").mkdir(parents=True)  # not finished
    assert find_outputs(tmp_path) == (stages / "03-c/model", stages / "02-b/adapter")


def test_a_report_is_what_a_database_takes(tmp_path: Path) -> None:
    assert read_report(tmp_path) == {}
    (tmp_path / "report.json").write_text('{"loss": NaN, "answer": "a\\u0000"}')
    assert read_report(tmp_path) == {"loss": None, "answer": "a\ufffd"}
