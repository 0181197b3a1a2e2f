"""What files are taken for: kinds and columns, and rows of each kind; real corpora."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.webapp.datasets.material import Read
from webapp.datasets.reading.figures import Figures
from webapp.datasets.reading.kinds import guess_columns, guess_kind, row

ASKED = {"role": "user", "content": "Habari?"}
SAID = {"role": "assistant", "content": "Nzuri."}


def jsonl(*records: dict[str, Any]) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


@pytest.mark.parametrize(
    ("records", "columns", "messages"),
    [
        (
            [{"instruction": "Habari?", "input": "", "output": "Nzuri."}],
            {"question": "instruction", "context": "input", "answer": "output"},
            [ASKED, SAID],
        ),
        (
            [{"instruction": "Sum up.", "input": "A text.", "output": "Nzuri."}],
            {"question": "instruction", "context": "input", "answer": "output"},
            [{"role": "user", "content": "Sum up.\n\nA text."}, SAID],
        ),
        (
            [
                {
                    "conversations": [
                        {"from": "system", "value": "Be kind."},
                        {"from": "human", "value": "Habari?"},
                        {"from": "gpt", "value": "Nzuri."},
                    ]
                }
            ],
            {"conversation": "conversations"},
            [{"role": "system", "content": "Be kind."}, ASKED, SAID],
        ),
        ([{"messages": [ASKED, SAID]}], {"conversation": "messages"}, [ASKED, SAID]),
        (
            [{"messages": json.dumps([ASKED, SAID])}],
            {"conversation": "messages"},
            [ASKED, SAID],
        ),
        (
            [{"id": 1, "Question": "Habari?", "Answer": "Nzuri."}],
            {"question": "Question", "answer": "Answer"},
            [ASKED, SAID],
        ),
        (
            [{"question": "Habari?", "answers": "['Nzuri.', 'Njema.']"}],
            {"question": "question", "answer": "answers"},
            [ASKED, {"role": "assistant", "content": "Nzuri., Njema."}],
        ),
    ],
)
def test_instructions(
    records: list[Any], columns: dict[str, str], messages: list[Any], tmp_path: Path
) -> None:
    found = Read(tmp_path, {"a.jsonl": jsonl(*records)})
    assert found.guess.options.kind == "instructions"
    assert found.guess.options.columns == columns
    assert found.rows == [{"messages": messages}]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": []}, "no conversation"),
        ({"messages": [ASKED]}, "nobody answers"),
        ({"messages": [{"role": "robot", "content": "x"}, SAID]}, "is said by robot"),
        ({"messages": [{"role": "user", "content": " "}, SAID]}, "a turn is empty"),
        ({"messages": ["Habari?", SAID]}, "not an object"),
    ],
)
def test_conversations_that_make_no_row(
    record: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    content = jsonl({"messages": [ASKED, SAID]}, record)
    found = Read(tmp_path, {"a.jsonl": content})
    assert len(found.rows) == 1
    assert [line for line, _reason in found.places] == [2]
    assert reason in found.places[0][1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "source,target\nGood day,Habari\nWater,Maji\n"),
        ("a.csv", "English,Kiswahili\nGood day,Habari\nWater,Maji\n"),
        ("a.csv", "en;sw;id\nGood day;Habari;1\nWater;Maji;2\n"),
        ("a.tsv", "Good day\tHabari\nWater\tMaji\n"),
        ("a.txt", "Good day\tHabari\nWater\tMaji\n"),
        (
            "a.jsonl",
            '{"en": "Good day", "sw": "Habari"}\n{"en": "Water", "sw": "Maji"}',
        ),
        (
            "a.json",
            '[{"translation": {"en": "Good day", "sw": "Habari"}},'
            ' {"translation": {"en": "Water", "sw": "Maji"}}]',
        ),
    ],
)
def test_parallel(name: str, content: str, tmp_path: Path) -> None:
    found = Read(tmp_path, {name: content.encode()})
    assert found.guess.options.kind == "parallel"
    assert found.rows == [
        {"source": "Good day", "target": "Habari"},
        {"source": "Water", "target": "Maji"},
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Habari?", "chosen": "Nzuri.", "rejected": "Sijui."},
        {
            "chosen": [ASKED, SAID],
            "rejected": [ASKED, {"role": "assistant", "content": "Sijui."}],
        },
        {"prompt": [ASKED], "chosen": "Nzuri.", "rejected": "Sijui."},
    ],
)
def test_preferences(record: dict[str, Any], tmp_path: Path) -> None:
    found = Read(tmp_path, {"a.jsonl": jsonl(record)})
    assert found.guess.options.kind == "preferences"
    assert found.rows == [
        {"messages": [ASKED], "chosen": "Nzuri.", "rejected": "Sijui."}
    ]


def test_text_among_other_columns(tmp_path: Path) -> None:
    named = jsonl({"id": "x", "url": "http://a", "content": "Maneno."})
    assert Read(tmp_path, {"a.jsonl": named}).texts == ["Maneno."]
    story = jsonl({"id": "x", "url": "http://a", "hadithi": "Maneno mengi ya hadithi."})
    assert Read(tmp_path, {"a.jsonl": story}).texts == ["Maneno mengi ya hadithi."]
    unnamed = jsonl({"id": "x", "a": "Maneno mengi ya hadithi.", "b": "fupi", "n": 3})
    assert Read(tmp_path, {"a.jsonl": unnamed}).texts == ["Maneno mengi ya hadithi."]


def test_columns_of_a_kind_that_a_person_chose() -> None:
    records = [{"a": "Good day", "b": "Habari"}]
    assert guess_columns(records, "instructions") == {"question": "a", "answer": "b"}
    assert guess_columns(records, "parallel") == {"source": "a", "target": "b"}
    assert guess_columns(records, "monolingual") == {"text": "a"}
    with_answer = [{"id": "1", "answer": "x y", "question": "z?"}]
    assert guess_columns(with_answer, "instructions") == {
        "question": "question",
        "answer": "answer",
    }


def test_lines_that_are_no_pairs_are_named(tmp_path: Path) -> None:
    pairs = "\n".join(f"word {n}\tneno {n}" for n in range(60))
    found = Read(tmp_path, {"a.txt": f"{pairs}\nno pair here".encode()})
    assert len(found.rows) == 60
    assert found.places == [(61, "is not two texts with a TAB between")]


# --- Real corpora ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "rows", "script"),
    [
        ("uyghur/corpus.txt", "monolingual", None, "Arabic"),
        ("kazakh/corpus.txt", "monolingual", None, "Cyrillic"),
        ("urdu/corpus.txt", "monolingual", None, "Arabic"),
        ("tibetan/parallel-eng-bod.tsv", "parallel", 800, None),
        ("uyghur/parallel-eng-uig.tsv", "parallel", 800, None),
        ("chinese/instructions-alpaca-zh.json", "instructions", 1000, "Han"),
        ("english/instructions-alpaca-en.json", "instructions", 999, "Latin"),
        ("english/c4.jsonl", "monolingual", 300, "Latin"),
        ("evaluation/sib-200/bod_Tibt/dev.tsv", "monolingual", 99, "Tibetan"),
    ],
)
def test_real_corpora(
    shared_data: Path,
    name: str,
    kind: str,
    rows: int | None,
    script: str | None,
    tmp_path: Path,
) -> None:
    content = (shared_data / name).read_bytes()
    found = Read(tmp_path, {Path(name).name: content})
    assert found.guess.options.kind == kind
    assert rows is None or len(found.rows) == rows
    assert not found.reading.problems.counts and not found.reading.problems.files
    figures = found.reading.figures
    assert script is None or figures.scripts()[0]["script"] == script
    if kind == "monolingual" and name.endswith(".txt"):
        lines = [line.rstrip() for line in content.decode().split("\n")]
        kept = "\n".join(found.texts)
        assert kept == "\n".join(line for line in lines if line).strip()


def test_real_questions_without_answers_are_counted(
    shared_data: Path, tmp_path: Path
) -> None:
    content = (shared_data / "swahili/queries.afriqa.swa.en.dev.json").read_bytes()
    found = Read(tmp_path, {"dev.json": content})
    total = content.count(b"\n") + (not content.endswith(b"\n"))
    dropped = found.reading.problems.counts["answers is empty"]
    assert dropped and len(found.rows) + dropped == total


def test_a_text_keeps_its_title_and_its_summary() -> None:
    records = [
        {"Title": "Bahari", "body": "Bahari ni kubwa sana.", "abstract": "Maji."},
        {"Title": None, "body": "Samaki huogelea.", "abstract": " "},
    ]
    kind, columns = guess_kind(records)
    assert kind == "monolingual"
    assert columns == {"text": "body", "title": "Title", "summary": "abstract"}
    rows = [row(record, kind, columns) for record in records]
    assert rows[0] == {
        "text": "Bahari ni kubwa sana.",
        "title": "Bahari",
        "summary": "Maji.",
    }
    assert rows[1] == {"text": "Samaki huogelea."}
    # What is counted is what is read.
    figures = Figures()
    for each in rows:
        figures.add(each)
    assert figures.characters == sum(len(each["text"]) for each in rows)
    # A table of titles and summaries alone has its text in one of them.
    short = [{"title": "A", "summary": "Much longer than the title."}]
    found = guess_columns(short, "monolingual")
    assert found == {"text": "summary", "title": "title"}
