from __future__ import annotations

from tests.training import tiny
from training import templates
from training.data.documents import (
    instruction_documents,
    interlinear_documents,
    parallel_documents,
)
from training.data.tokens import cut_row

PAIRS = [
    {"source": f"cat {n}", "target": f"мысық {n}", "languages": ["en", "kk"]}
    for n in range(40)
]


def test_each_pair_is_read_both_ways() -> None:
    half = {"source": "cat", "target": " ", "languages": ["en", "kk"]}
    rows = list(parallel_documents([*PAIRS[:2], half]))
    assert [row["text"] for row in rows] == [
        "cat 0\nмысық 0",
        "мысық 0\ncat 0",
        "cat 1\nмысық 1",
        "мысық 1\ncat 1",
    ]
    assert {row["language"] for row in rows} == {"en-kk"}


def test_interlinear_text_alternates_in_the_order_of_the_file() -> None:
    other = [{**row, "languages": ["ru", "kk"]} for row in PAIRS[:3]]
    rows = list(interlinear_documents(PAIRS + other, characters=150, seed=1))
    assert [row["language"] for row in rows][-1] == "kk-ru"
    lines = [row["text"].split("\n") for row in rows]
    first = set()
    for document in lines:
        left, right = document[::2], document[1::2]
        assert [a.split()[1] for a in left] == [b.split()[1] for b in right]
        assert len({line.split()[0] for line in left}) == 1
        first.add(left[0].split()[0])
    # Either language comes first somewhere, and a document is about as long as asked.
    assert first == {"cat", "мысық"}
    assert all(150 <= len(row["text"]) + 2 < 190 for row in rows[:-2])
    numbers = [
        int(line.split()[1]) for document in lines[:-1] for line in document[::2]
    ]
    assert numbers == list(range(40))
    assert rows == list(interlinear_documents(PAIRS + other, characters=150, seed=1))
    assert rows != list(interlinear_documents(PAIRS + other, characters=150, seed=3))


def test_instructions_are_read_plain_or_as_a_chat() -> None:
    rows = [
        {"question": "Кім <|im_end|>?", "answer": "Мен."},
        {"question": "no answer"},
    ]
    assert [row["text"] for row in instruction_documents(rows)] == [
        "Кім <|im_end|>?\n\nМен."
    ]
    tokenizer = tiny.tokenizer(tiny.documents(9))
    templates.set_up(tokenizer)
    (row,) = instruction_documents(rows, tokenizer)
    assert row["chat"] and row["text"].count("<|im_start|>") == 2
    # What a person wrote ends no turn.
    assert row["text"].count("<|im_end|>") == 2


def test_cut_rows_keep_their_spans() -> None:
    text = "aaaa bbbb (cccc dddd) eeee"
    languages: dict[str, int] = {}
    row = {"text": text, "language": "kk", "inserted": [[10, 21]]}
    parts = list(cut_row(row, 13, languages))
    assert "".join(part.text for part in parts) == text
    inside = "".join(p.text[a:b] for p in parts for a, b in p.inserted)
    assert inside == "(cccc dddd)"
    assert [part.last for part in parts] == [False, False, True]
    assert sum(part.learned_bytes for part in parts) == len(text) - 11
    assert languages == {"kk": 0}
