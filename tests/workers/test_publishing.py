from __future__ import annotations

from pathlib import Path

from webapp.models.selectors import INVENTED
from workers.publishing import find_outputs, gather_invented, read_report


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


def test_what_every_stage_had_invented_is_one_file(tmp_path: Path) -> None:
    assert gather_invented(tmp_path) is None
    for name, rows in (("02-a", "one\n"), ("03-b", ""), ("04-c", "two\n")):
        folder = tmp_path / "stages" / name
        folder.mkdir(parents=True)
        (folder / "invented.jsonl").write_text(rows)
        if name == "03-b":
            assert gather_invented(tmp_path)
    unfinished = tmp_path / "stages" / "05-d.part"
    unfinished.mkdir()
    (unfinished / "invented.jsonl").write_text("half a li")
    for _again in range(2):
        folder = gather_invented(tmp_path)
        assert folder and (folder / INVENTED).read_text() == "one\ntwo\n"
