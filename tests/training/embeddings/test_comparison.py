from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from training.data.rows import read_rows
from training.embeddings.comparison import (
    LONGEST_LINE,
    Arm,
    Comparison,
    Runner,
    arms,
    untied_copy,
)
from training.errors import InputMissing, MaterialMissing, SpecInvalid, TooLittleText
from training.families import load_model
from training.merging import is_tied

# Whole stages with real models: not for the quick loop.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("comparison")
    text = tiny.corpus(folder / "target.jsonl", tiny.documents(60))
    (folder / "kept.txt").write_text("\n".join(tiny.documents(60, script="latin")))
    return Comparison(
        base=tiny.base(folder / "base"),
        text=Path(text.path),
        protected=folder / "kept.txt",
        out=folder / "out",
        language="kk",
        methods=("mean", "random", "distil"),
        seeds=(1,),
        steps=3,
        block_tokens=32,
        batch_blocks=2,
        row_steps=4,
        row_batch=2,
        row_tokens=16,
        new_tokens=40,
        threads=1,
    )


@pytest.fixture(scope="module")
def rows(given: Comparison) -> list[dict]:
    return list(Runner(given).run())


def test_controls_are_always_there(given: Comparison) -> None:
    """Equal steps, equal bytes, and the tokens that the taught rows read before."""
    found = list(arms(given, tied=True, ratio=2.5))
    taught = 4 * 2 * 16 / (2 * 32)
    keep = [(arm.budget, arm.steps) for arm in found if arm.method == "keep"]
    assert keep == [("steps", 3), ("bytes", 8), ("total", 3 + taught)]
    assert Arm("distil", "mean", "distil", 3, "steps") in found
    assert found[-1] == Arm("mean", "mean", "", 3 + taught, "total")
    plain = arms(replace(given, methods=("mean",)), tied=True, ratio=2.5)
    assert [arm.budget for arm in plain] == ["steps", "bytes", "steps"]


def test_on_tied_rows_the_first_piece_is_no_arm_of_its_own(given: Comparison) -> None:
    both = replace(given, methods=("mean", "mean_first"))
    for tied in (True, False):
        names = [arm.name for arm in arms(both, tied, 2.0)]
        assert ("mean_first" in names) is not tied


def test_every_arm_is_measured_with_one_ruler(rows: list[dict]) -> None:
    by_name = {row["arm"]: row for row in rows}
    assert list(by_name) == [
        "keep",
        "keep (bytes)",
        "keep (total)",
        "mean",
        "random",
        "distil",
        "mean (total)",
    ]
    # The same start before anything was learned; the rows' stage moves only its arm.
    assert by_name["mean"]["start"] == by_name["distil"]["start"]
    assert by_name["mean"]["start"] != by_name["random"]["start"]
    assert by_name["distil"]["rows"]["target"] != by_name["distil"]["start"]["target"]
    assert "rows" not in by_name["mean"]
    for row in rows:
        assert row["end"]["target"] < row["start"]["target"]
        kept = row["arm"].startswith("keep")
        longer = row["end"]["characters_per_token"]
        assert (longer == by_name["keep"]["start"]["characters_per_token"]) is kept


def test_what_is_there_is_not_run_again(given: Comparison, rows: list[dict]) -> None:
    """A changed line stays: it was read, not made."""
    path = given.out / "results.jsonl"
    before = path.read_text()
    lines = [json.loads(line) for line in before.splitlines()]
    lines[0]["end"]["target"] = 99.0
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = list(Runner(given).run())
    assert again[0]["end"]["target"] == 99.0
    assert again[1:] == rows[1:]
    path.write_text(before)


def test_a_lost_line_is_made_again_and_is_the_same(
    given: Comparison, rows: list[dict]
) -> None:
    path = given.out / "results.jsonl"
    kept = [line for line in path.read_text().splitlines() if '"distil"' not in line]
    path.write_text("\n".join(kept) + "\n")
    again = {row["arm"]: row for row in Runner(given).run()}
    for row in rows:
        moments = {name for name in ("start", "rows", "end") if name in row}
        assert all(again[row["arm"]][name] == row[name] for name in moments)


def test_arms_that_do_the_same_are_run_once(given: Comparison, tmp_path: Path) -> None:
    """Even the seconds are those of the first; arms that differ have their own."""
    little = {"row_steps": 1, "row_batch": 1, "row_tokens": 8}  # less than half a step
    asked = replace(given, out=tmp_path, methods=("next_token_rows",), **little)
    by_name = {row["arm"]: row for row in Runner(asked).run()}
    assert by_name["keep (total)"] == by_name["keep"] | {"arm": "keep (total)"}
    assert by_name["keep (bytes)"]["steps"] > by_name["keep"]["steps"]
    assert by_name["keep (bytes)"]["end"] != by_name["keep"]["end"]


def test_another_comparison_needs_another_folder(
    given: Comparison, rows: list[dict]
) -> None:
    with pytest.raises(SpecInvalid, match="steps"):
        Runner(replace(given, steps=4))


def test_wrong_input_is_refused(given: Comparison, tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match="magic.*choose of mean_first"):
        replace(given, methods=("magic",))
    with pytest.raises(InputMissing):
        replace(given, text=tmp_path / "nothing.txt")


def test_a_method_that_lacks_something_is_refused_at_once(
    given: Comparison, tmp_path: Path
) -> None:
    asked = replace(given, out=tmp_path / "out", methods=("dictionary",))
    with pytest.raises(MaterialMissing, match="dictionary"):
        Runner(asked)
    words = "ba\tқабар\nko\tжол\n" * 3
    (tmp_path / "words.tsv").write_text(words + "a line of no pair\n")
    runner = Runner(replace(asked, dictionary=tmp_path / "words.tsv"))
    folder = runner._extended("dictionary", 1)
    assert (folder / "model/config.json").is_file()


def test_an_untied_copy_computes_the_same(given: Comparison, tmp_path: Path) -> None:
    before = load_model(given.base)
    after = load_model(untied_copy(given.base, tmp_path / "untied"))
    assert is_tied(before) and not is_tied(after)
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(before(input_ids=ids).logits, after(input_ids=ids).logits)


def test_the_base_gets_to_know_the_language_first(
    given: Comparison, tmp_path: Path
) -> None:
    known = replace(given, out=tmp_path, acquaint=6, untie=True)
    runner = Runner(known)
    start = runner._measure(Path(runner.job.base))
    assert start["target"] < runner._measure(tmp_path / "untied")["target"]
    texts = [
        (tmp_path / f"{name}.jsonl").read_text() for name in ("target", "target-other")
    ]
    assert not set(texts[0].splitlines()) & set(texts[1].splitlines())


REFUSED = {
    "utf-16": ("text.txt", "text " * 99, "utf-16", "no text in UTF-8"),
    "legacy": ("text.txt", "қабар".translate({0x49B: "к"}), "cp1251", "no text in UTF"),
    "rows in utf-16": ("text.jsonl", '{"text": "ба"}\n', "utf-16", "no text in UTF-8"),
    "rows without text": ("text.jsonl", '{"txt": "ба"}\n', "utf-8", 'no "text"'),
    "a number for a text": ("text.jsonl", '{"text": 5}\n', "utf-8", 'no "text"'),
    "no rows": ("text.jsonl", "ба\n", "utf-8", "Line 1 of text.jsonl is not a row"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_read_is_a_sentence(
    given: Comparison, tmp_path: Path, case: str
) -> None:
    name, content, encoding, said = REFUSED[case]
    (tmp_path / name).write_bytes(content.encode(encoding))
    with pytest.raises(InputMissing, match=said):
        Runner(replace(given, text=tmp_path / name, out=tmp_path / "out"))


def test_what_cannot_be_compared_is_refused_before_it_begins(
    given: Comparison, tmp_path: Path
) -> None:
    for name in ("steps", "row_steps", "new_tokens", "characters"):
        with pytest.raises(SpecInvalid, match=f"at least one of {name}"):
            replace(given, **{name: 0})
    for name in ("base", "donor"):
        with pytest.raises(InputMissing, match="The folder .*none is not there"):
            replace(given, **{name: tmp_path / "none"})


def test_too_little_text_is_counted(given: Comparison, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("қабар барны\n" * 9, encoding="utf-8")
    few = replace(given, text=tmp_path / "text.txt", out=tmp_path / "out")
    with pytest.raises(TooLittleText, match=r"has \d+ different characters"):
        Runner(few)


@pytest.mark.parametrize("kept", ["", "the same"])
def test_a_protected_text_that_measures_nothing_is_refused(
    given: Comparison, tmp_path: Path, kept: str
) -> None:
    (tmp_path / "kept.txt").write_text("", encoding="utf-8")
    protected = given.text if kept else tmp_path / "kept.txt"
    with pytest.raises(TooLittleText, match="The protected text is too short"):
        Runner(replace(given, protected=protected, out=tmp_path / "out"))


def test_a_file_without_line_ends_is_shortened_and_halved(
    given: Comparison, tmp_path: Path
) -> None:
    line = " ".join(tiny.documents(900)).replace("\n", " ")
    assert len(line) > 5 * LONGEST_LINE
    (tmp_path / "text.txt").write_text(f"\ufeff{line}", encoding="utf-8")
    runner = Runner(
        replace(
            given,
            text=tmp_path / "text.txt",
            out=tmp_path / "out",
            characters=3 * LONGEST_LINE,
            acquaint=1,
        )
    )
    halves = [
        [row["text"] for row in read_rows(runner.out / f"{name}.jsonl")]
        for name in ("target", "target-other")
    ]
    assert all(halves) and sum(map(len, sum(halves, []))) < 4 * LONGEST_LINE
    assert "".join(sum(halves, [])) == line[: sum(map(len, sum(halves, [])))]


def test_a_seed_named_twice_is_one_seed(given: Comparison, rows: list[dict]) -> None:
    """Two equal runs would have no spread, and everything would be told apart."""
    again = list(Runner(replace(given, seeds=(1, 1))).run())
    assert [row["arm"] for row in again] == [row["arm"] for row in rows]
