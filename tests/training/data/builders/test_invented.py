"""What a teacher invents: which passages it sees, what is learned of it and why not."""

from __future__ import annotations

import random
from itertools import cycle

import pytest

from training.data.builders.invented import (
    LEAST_PASSAGE,
    LONGEST_PASSAGE,
    Passage,
    Quality,
    choose,
    converse,
    gather,
    passages,
    tidy,
)
from training.data.builders.material import question
from training.data.contamination import Guard
from training.data.language_guess import LanguageGuess
from training.data.text_quality import usual_scripts

SWAHILI = (
    "Wavuvi wa kijiji cha Kizimkazi huondoka alfajiri kabla ya jua kuchomoza. Wanawake "
    "husubiri ufukoni na kugawana samaki kwa familia zote. Wakati wa masika bahari huwa "
    "chafu na watu hulima mihogo badala ya kuvua. Wazee husimulia hadithi za dhoruba kubwa "
    "iliyovunja mashua nyingi zamani."
)
ENGLISH = (
    "The fishermen of the village leave before sunrise. The women wait on the beach and "
    "share the fish among all of the families. In the season of the long rains the sea is "
    "rough and people grow cassava instead of fishing. The old tell of a great storm."
)
HELD_OUT = "Mwalimu wetu alifundisha hesabu katika shule ya msingi ya Makunduchi."
QUALITY = Quality(
    "sw",
    usual_scripts([SWAHILI]),
    LanguageGuess({"sw": [SWAHILI], "en": [ENGLISH]}),
    Guard([HELD_OUT]),
)
ASKED = "Kwa nini watu hulima mihogo badala ya kuvua?"
ANSWER = "Kwa sababu bahari huwa chafu, watu hulima mihogo wakati huo."
PASSAGE = Passage(SWAHILI, "7")


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        (ASKED, ""),
        ("", "empty"),
        ("Nani?", "short"),
        (ASKED * 8, "long"),
        ("Wanawake husubiri ufukoni", "copied"),
        ("wanawake  husubiri, UFUKONI?", "copied"),
        ("Nani husubiri ufukoni?", "repeated question"),
        ("Бұл ауылдың балалары таңертең қайда оқиды?", "script"),
        ("What do the people of the village grow?", "language"),
        (HELD_OUT, "held out"),
        ("samaki wa bahari kuu " * 6, "in circles"),
    ],
)
def test_questions_that_are_not_learned_from(asked: str, fault: str) -> None:
    found = QUALITY.question_fault(asked, SWAHILI, ["nani husubiri ufukoni"])
    assert found == fault


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (ANSWER, ""),
        ("10", ""),
        ("", "no answer"),
        ("NONE.", "no answer"),
        (ASKED, "no answer"),
        (ANSWER * 40, "long"),
        (SWAHILI, "copied"),
        (SWAHILI[50:-20], "copied"),
        (SWAHILI.replace("Wazee", "Watu"), "copied"),
        ("Wazee husimulia hadithi za dhoruba kubwa", ""),  # read out, and an answer
        ("Because the sea is rough in the season of the rains.", "language"),
        (f"Sijui. {HELD_OUT}", "held out"),
    ],
)
def test_answers_that_are_not_learned_from(answer: str, fault: str) -> None:
    assert QUALITY.answer_fault(answer, ASKED, SWAHILI) == fault


def test_without_text_of_another_language_none_is_told() -> None:
    alone = Quality("sw", usual_scripts([SWAHILI]))
    assert alone.question_fault("What do people of the village grow?", "", []) == ""


def test_a_conversation_ends_before_the_first_fault() -> None:
    said = iter([f"«{ASKED}»", ANSWER, "Nani husimulia hadithi?", "NONE"])
    shown: list[str] = []

    def ask(chat: list) -> str:
        shown.append(chat[-1]["content"])
        return next(said)

    chat, fault = converse(PASSAGE, ask, 3, QUALITY)
    assert chat == question(ASKED, ANSWER) and fault == "no answer"
    assert all(SWAHILI in text and "Swahili" in text for text in shown)
    assert shown[1].endswith(f"Question: {ASKED}")
    assert shown[2].endswith(f"Question: {ASKED}\nAnswer: {ANSWER}")
    assert shown[3].endswith("Question: Nani husimulia hadithi?")


def test_as_many_turns_as_were_asked_for() -> None:
    numbers = cycle(range(9))
    said = cycle(["Swali namba {} la wavuvi?", "Jibu namba {} kutoka kwa wazee."])
    chat, fault = converse(
        PASSAGE, lambda chat: next(said).format(next(numbers)), 4, QUALITY
    )
    assert fault == "" and [turn["role"] for turn in chat] == 4 * ["user", "assistant"]


def test_rows_name_teacher_and_document_and_ask_nothing_twice() -> None:
    two = question(ASKED, ANSWER) + question("Nani husimulia?", "Wazee.")
    other = question("Wapi?", "Kizimkazi.") + question(ASKED.upper(), ANSWER)
    found = gather(
        [
            (PASSAGE, two, ""),
            (Passage("a", "8"), question(ASKED, "Sijui."), ""),
            (Passage("b", "9-12"), other, ""),
            (Passage("c", "13"), [], "language"),
            (Passage("d", "14"), question("Lini?", "Leo."), "script"),
        ],
        "sw",
        "small",
    )
    assert [row.turns for row in found.rows] == [
        two,
        other[:2],
        question("Lini?", "Leo."),
    ]
    assert {row.origin for row in found.rows} == {"invented by small"}
    assert [row.key for row in found.rows] == [
        "document 7",
        "document 9-12",
        "document 14",
    ]
    assert found.left_out == {"repeated question": 1, "language": 1}
    assert found.cut_short == {"repeated question": 1, "script": 1}


def test_passages_of_long_documents_and_of_lines() -> None:
    lines = ["Mstari mfupi wa maandishi hapa."] * 10
    long = " ".join([SWAHILI] * 8)
    found = list(passages([*lines, long, *lines[:2], SWAHILI]))
    assert all(LEAST_PASSAGE <= len(one.text) <= LONGEST_PASSAGE for one in found)
    names = [one.document for one in found]
    assert names[:2] == ["1-4", "5-8"] and names[-1] == "14"
    assert set(names[2:-1]) == {"11"} and len(names[2:-1]) == 2


def test_a_share_of_the_documents_the_first_passage_of_each_first() -> None:
    found = [Passage(f"{d}.{n}", str(d)) for d in range(10) for n in range(3)]
    chosen = choose(found, 0.5, 7, random.Random(1))
    documents = [one.document for one in chosen]
    assert len(chosen) == 7 and len(set(documents)) == 5
    assert [one.text[-1] for one in chosen] == ["0"] * 5 + ["1"] * 2
    assert chosen == choose(found, 0.5, 7, random.Random(1))
    assert chosen != choose(found, 0.5, 7, random.Random(2))
    assert len(choose(found, 1.0, 99, random.Random(1))) == 30
    assert choose([], 1.0, 5, random.Random(1)) == []


def test_marks_around_an_answer_are_taken_off_and_those_inside_stay() -> None:
    assert tidy(' "Jina lake nani?" ') == "Jina lake nani?"
    assert tidy('"Ndiyo" au "hapana"') == '"Ndiyo" au "hapana"'
    assert tidy("«Mbuyu» ni mti.") == "«Mbuyu» ni mti."
