"""What a community has, made into examples."""

from __future__ import annotations

import pytest

from training.data.builders.material import Instruction, Material
from training.data.builders.wordings import load_wordings
from training.data.conversations import as_messages
from training.data.instructions import Mixture, build_examples, text_pieces
from training.data.pairs import Pair

QUESTION = {"role": "user", "content": "Nani?"}
ANSWER = {"role": "assistant", "content": "Mimi."}
TEXTS = [f"Sentensi ya {n} ni ndefu vya kutosha kwa mfano huu." for n in range(200)]
KEPT = [f"Sentence {n} is long enough to be used as an example." for n in range(200)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": [QUESTION, ANSWER]}, [QUESTION, ANSWER]),
        (
            {
                "conversations": [
                    {"from": "human", "value": " Nani? "},
                    {"from": "gpt", "value": "Mimi."},
                ]
            },
            [QUESTION, ANSWER],
        ),
        ({"instruction": "Nani?", "input": "", "output": "Mimi."}, [QUESTION, ANSWER]),
        ({"question": "Nani?", "answer": "Mimi."}, [QUESTION, ANSWER]),
        ({"prompt": "Nani?", "completion": "Mimi."}, [QUESTION, ANSWER]),
        (
            {"instruction": "Fupisha.", "input": "Hadithi", "output": "Mimi."},
            [{"role": "user", "content": "Fupisha.\n\nHadithi"}, ANSWER],
        ),
        ({"messages": [QUESTION, ANSWER, QUESTION]}, [QUESTION, ANSWER]),
        ({"messages": [QUESTION]}, None),
        ({"messages": [ANSWER, QUESTION]}, None),
        ({"messages": [QUESTION, {"role": "assistant", "content": " "}]}, None),
        ({"messages": [QUESTION, {"role": "tool", "content": "x"}, ANSWER]}, None),
        ({"instruction": "Nani?", "output": ""}, None),
        ({"text": "Hadithi"}, None),
    ],
)
def test_formats(row, expected):
    assert as_messages(row) == expected


ROWS = [
    Instruction([QUESTION, {"role": "assistant", "content": f"a{n}"}], "sw")
    for n in range(100)
]
PAIRS = [Pair(("en", "sw"), (f"s{n}", f"t{n}")) for n in range(100)]


def built(rows=ROWS, pairs=PAIRS, shares=None, **mixture):
    material = Material("sw", instructions=rows, pairs=pairs, wordings=load_wordings())
    return build_examples(
        material,
        Mixture(shares=shares or {}, **mixture),
        target_texts=TEXTS,
        protected_texts=KEPT,
        seed=1,
    )


def test_shares():
    nothing = {"translations": 0, "texts": 0}
    assert built().counts == {"instructions": 100, **nothing}
    third = built(shares={"translation": 1 / 3})
    assert third.counts["translations"] == 50
    mixed = built(shares={"translation": 1 / 3}, raw_text_share=0.25)
    assert mixed.counts["texts"] == 50 and len(mixed) == 200
    assert mixed.by_origin() == {"instructions": 100, "translations": 50, "texts": 50}
    target = [text for text in mixed.texts if text.startswith("Sentensi")]
    assert len(target) == 25
    shares = {"translation": 0.3}
    assert built(shares=shares).chats == built(shares=shares).chats


@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (0.25, 10), (0.5, 20)])
def test_the_protected_part_of_the_plain_text(share: float, kept: int):
    found = built(rows=ROWS[:60], raw_text_share=0.4, protected_text_share=share)
    assert len(found.texts) == 40
    assert sum(text.startswith("Sentence") for text in found.texts) == kept


def test_pairs_alone_are_all_used_and_text_alone_is_nothing():
    found = built(rows=[], pairs=PAIRS[:5], shares={"translation": 0.1})
    assert len(found.chats) == 10
    assert len(built(rows=[], pairs=[], shares={"translation": 0.1})) == 0
    assert not built(rows=[], shares={}, raw_text_share=0.5).chats


def test_text_pieces_lose_nothing_that_is_long_enough():
    text = " ".join(TEXTS)
    pieces = list(text_pieces([text], 300))
    assert all(40 <= len(piece) <= 300 for piece in pieces)
    assert "".join(text.split()) == "".join("".join(pieces).split())
