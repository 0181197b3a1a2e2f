"""What each builder makes of what a community has."""

from __future__ import annotations

import random

import pytest

from training.data.builders import builders
from training.data.builders.documents import split_title
from training.data.builders.material import (
    Document,
    Instruction,
    Material,
    instructions_of,
    question,
)
from training.data.builders.mixing import choose_instructions, mix
from training.data.builders.taco import (
    final_answer_only,
    parse_final_answer,
    three_steps,
)
from training.data.builders.translation import TranslationStyle, translation_chat
from training.data.builders.wordings import language_name, load_wordings, own_name
from training.data.pairs import Pair, read_pairs

WORDINGS = load_wordings()
WORDS = [("water", "maji"), ("tree", "mti"), ("book", "kitabu"), ("child", "mtoto")]
PAIRS = [
    Pair(("en", "sw"), (f"The number {n} is here today.", f"Namba {n} iko hapa leo."))
    for n in range(12)
]
BODY = "Hadithi hii ni ndefu sana na ina maneno mengi ya kusoma leo. " * 8


def material(**more) -> Material:
    values = {
        "instructions": [
            Instruction(question("Where is the water?", "In the river."), "en", "7"),
            Instruction(question("Maji yako wapi?", "Mtoni."), "sw", "7"),
            Instruction(question("Habari?", "Nzuri."), "sw", "8"),
        ],
        "pairs": PAIRS,
        "dictionary": [Pair(("en", "sw"), pair) for pair in WORDS],
        "documents": [Document("Kichwa cha hadithi\n" + BODY, "sw")],
        "wordings": WORDINGS,
    }
    return Material("sw", "en", **{**values, **more})


def made(name: str, source: Material, seed: int = 1, **style):
    ways = builders(TranslationStyle(**style))
    return list(ways[name](source, random.Random(seed)))


@pytest.mark.parametrize("name", builders())
def test_every_builder_makes_turns_that_end_with_an_answer(name: str):
    found = made(name, material())
    assert found, name
    for turns, origin in found:
        assert [turn["role"] for turn in turns] == ["user", "assistant"]
        assert all(turn["content"].strip() for turn in turns) and origin
        assert "{" not in turns[0]["content"]
    assert found == made(name, material()) and made(name, Material("sw")) == []


@pytest.mark.parametrize("name", [n for n in builders() if n != "document"])
def test_the_text_of_the_material_is_not_read_as_a_pattern(name: str):
    """Braces in a sentence must not be taken for a place of the wording."""
    odd = [Pair(("en", "sw"), ("Write {x} and {} here now.", "Andika {x} na {} hapa."))]
    for turns, _ in made(name, material(pairs=odd * 3), seed=3):
        assert turns


def test_a_pair_is_asked_for_both_ways():
    pair = Pair(("en", "sw"), ("The {cow} sleeps.", "Ng'ombe analala."))
    seen = set()
    for seed in range(60):
        dice = random.Random(seed)
        for source, target in ((0, 1), (1, 0)):
            asked, given = translation_chat(pair, source, target, dice, WORDINGS)
            assert given["content"] == pair.texts[target]
            assert pair.texts[source] in asked["content"]
            assert pair.texts[target] not in asked["content"]
            seen.add(asked["content"])
    assert "English: The {cow} sleeps.\nKiswahili:" in seen
    assert any("Swahili" in text and "Kiswahili" not in text for text in seen)
    assert any(text.startswith("Tafsiri") for text in seen)
    assert len(seen) > 6


@pytest.mark.parametrize("language", ["kk", "tlh", "crh-Latn", "qaa", "not a tag"])
def test_a_language_without_wordings_or_names_is_asked_for_all_the_same(language):
    source = Material(
        language, pairs=[Pair(("en", language), ("A dog.", "x"))], wordings=WORDINGS
    )
    for seed in range(20):
        for (ask, _), _ in made("translation", source, seed):
            assert "Unknown" not in ask["content"] and "{" not in ask["content"]
    assert own_name(language) and language_name(language, "en")


@pytest.mark.parametrize("language", [tag for tag in WORDINGS if tag != "en"])
def test_every_wording_takes_its_values(language: str):
    values = dict.fromkeys(
        ("text", "word", "source", "target", "gaps", "other", "language"), "VALUE"
    )
    for task, wordings in WORDINGS[language].items():
        for wording in wordings:
            assert "VALUE" in wording.format(**values), (language, task)


def test_directions():
    into = made("translation", material(), direction="into_target")
    assert len(into) == 12
    assert all("Namba" in turns[1]["content"] for turns, _ in into)
    out = made("translation", material(), direction="out_of_target")
    assert all("number" in turns[1]["content"] for turns, _ in out)
    assert len(made("translation", material())) == 24


def test_solved_examples_stand_before_the_request_and_never_give_the_answer_away():
    found = made("translation", material(), few_shot_share=1.0, few_shot_examples=2)
    assert {origin for _, origin in found} == {"few_shot"}
    for (ask, given), _ in found:
        assert ask["content"].count("Kiswahili:") == 3
        assert given["content"] not in ask["content"]
    alone = made("translation", material(pairs=PAIRS[:1]), few_shot_share=1.0)
    assert all(ask["content"].count("\n") == 1 for (ask, _), _ in alone)


def test_all_meanings_of_a_word_are_answered_together():
    words = [*WORDS, ("juice", "maji")]
    source = material(dictionary=[Pair(("en", "sw"), pair) for pair in words])
    answers = {
        ask["content"]: given["content"]
        for seed in range(8)
        for (ask, given), _ in made("dictionary", source, seed)
    }
    asked_for_maji = [a for q, a in answers.items() if "maji" in q]
    assert asked_for_maji and set(asked_for_maji) == {"water, juice"}


def test_titles_are_told_from_first_lines():
    assert split_title("# Kichwa\n" + BODY) == ("Kichwa", BODY.strip())
    for text in (BODY, "Sentensi ya kwanza.\n" + BODY, "Kichwa\nfupi", "", "x" * 90):
        assert split_title(text)[0] == ""


def test_tasks_from_plain_text():
    document = Document(BODY, "sw", title="Hadithi", summary="Hadithi ndefu.")
    seen = {}
    for seed in range(40):
        for (ask, given), origin in made(
            "document", material(documents=[document]), seed
        ):
            assert origin == "documents"
            seen[given["content"]] = ask["content"]
    assert {"Hadithi", "Hadithi ndefu."} < set(seen) and len(seen) == 3
    gone_on = next(a for a in seen if a not in ("Hadithi", "Hadithi ndefu."))
    shown = seen[gone_on].split("\n", 1)[1].strip()
    assert f"{shown} {gone_on}" in BODY
    assert made("document", material(documents=[Document("Fupi.", "sw")])) == []


def test_gaps_are_filled_from_the_translation_and_sentences_compared():
    found = [
        turns for seed in range(6) for turns, _ in made("alignment", material(), seed)
    ]
    gaps = [turns for turns in found if "____" in turns[0]["content"]]
    same = [turns for turns in found if "____" not in turns[0]["content"]]
    for ask, given in gaps:
        assert given["content"] not in ask["content"] and "Namba" in given["content"]
    truth = {"Yes.": 0, "No.": 0}
    for ask, given in same:
        number = [w for w in ask["content"].split() if w.isdigit()]
        assert (given["content"] == "Yes.") == (number[0] == number[1])
        truth[given["content"]] += 1
    assert min(truth.values()) > 5


def test_asked_in_one_language_and_answered_in_the_other():
    found = {
        (ask["content"], given["content"])
        for (ask, given), _ in made("cross_lingual", material())
    }
    assert len(found) == 2
    assert any("Where is the water?" in q and a == "Mtoni." for q, a in found)
    assert any("Maji yako wapi?" in q and a == "In the river." for q, a in found)
    assert all("Swahili" in q or "English" in q or "Ki" in q for q, _ in found)
    pairs = [Pair(("en", "sw"), ("How are you?", "Habari?"))]
    rows = material().instructions[2:]
    ((turns, _),) = made("cross_lingual", material(pairs=pairs, instructions=rows))
    assert "How are you?" in turns[0]["content"] and turns[1]["content"] == "Nzuri."


def test_code_switching_replaces_words_of_the_question_only():
    source = material(
        instructions=[
            Instruction(
                question("Where is the Water, child?", "The water is here."), "en"
            )
        ]
    )
    ((turns, origin),) = builders(code_switch_ratio=1.0)["code_switch"](
        source, random.Random(1)
    )
    assert turns[0]["content"] == "Where is the maji, mtoto?"
    assert turns[1]["content"] == "The water is here." and origin == "code_switched"
    assert made("code_switch", material(dictionary=[])) == []


def test_words_with_marks_are_whole():
    source = Material(
        "bo",
        instructions=[Instruction(question("हिंदी में book है", "x"), "hi")],
        dictionary=[Pair(("hi", "bo"), ("में", "ནང"))],
        wordings=WORDINGS,
    )
    ((turns, _),) = builders(code_switch_ratio=1.0)["code_switch"](
        source, random.Random(1)
    )
    assert turns[0]["content"] == "हिंदी ནང book है"


def test_words_of_a_script_without_spaces_are_found_in_the_line():
    source = Material(
        "zh",
        instructions=[Instruction(question("我爱喝水，你呢？", "x"), "zh")],
        dictionary=[
            Pair(("zh", "en"), ("喝水", "drink")),
            Pair(("zh", "en"), ("爱", "love")),
        ],
        wordings=WORDINGS,
    )
    ((turns, _),) = builders(code_switch_ratio=1.0)["code_switch"](
        source, random.Random(1)
    )
    assert turns[0]["content"] == "我love drink，你呢？"


STEPS = three_steps("Where is it?", "Here:\nin it.", "Hapa:\nndani.", "en", "sw")


def test_the_last_step_is_found_and_other_answers_are_left_alone():
    ((ask, given),) = [turns for turns, _ in made("taco", material())]
    assert ask["content"] == "Maji yako wapi?"
    assert "Where is the water?" in given["content"]
    assert parse_final_answer(given["content"]) == "Mtoni."
    assert parse_final_answer(STEPS) == "Hapa:\nndani."
    for plain in ("Mtoni.", "", "I said: Response in kind: yes", "Instruction manual"):
        assert parse_final_answer(plain) == plain
    cut_off = STEPS[: STEPS.index("\nResponse in Swahili")]
    assert parse_final_answer(cut_off) == "Here:\nin it."
    assert parse_final_answer("Instruction in English: Where") == ""


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("text", [STEPS, "Mtoni.", "Instead of it", "Inst", ""])
def test_pieces_give_what_the_parser_finds(text: str, size: int):
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    shown = "".join(final_answer_only(pieces))
    assert shown.strip() == parse_final_answer(text)


def test_a_plain_answer_is_not_held_back():
    stream = final_answer_only(iter(["Mt", "oni", "."]))
    assert next(stream) == "Mt"


def test_rows_that_hold_no_answer_are_counted():
    rows = [
        {"question": "q", "answer": "a", "id": 3, "language": "en", "origin": "x"},
        {"question": "q"},
        {"text": "t"},
    ]
    found, unreadable = instructions_of(rows, "sw")
    assert (
        found == [Instruction(question("q", "a"), "en", "3", "x")] and unreadable == 2
    )


def test_a_pair_without_one_side_is_left_out():
    rows = [
        {"source": "a", "target": " ", "languages": ["en", "sw"]},
        {"source": "a", "target": "b", "languages": ["en", "sw"]},
    ]
    assert list(read_pairs(rows)) == [Pair(("en", "sw"), ("a", "b"))]


ENGLISH = [Instruction(question(f"q{n}", "a"), "en") for n in range(100)]
SWAHILI = [Instruction(question(f"s{n}", "a"), "sw") for n in range(60)]


@pytest.mark.parametrize(
    ("rows", "share", "most", "english", "swahili"),
    [
        (ENGLISH + SWAHILI, 1.0, 0, 100, 60),
        (ENGLISH + SWAHILI, 0.25, 0, 20, 60),
        (ENGLISH + SWAHILI, 0.0, 0, 0, 60),
        (ENGLISH + SWAHILI, 1.0, 40, 100, 40),
        (ENGLISH, 0.1, 0, 100, 0),
    ],
)
def test_which_rows_are_learned_from(rows, share, most, english, swahili):
    found = choose_instructions(
        rows,
        target="sw",
        source="en",
        source_share=share,
        target_rows=most,
        dice=random.Random(1),
    )
    languages = [row.language for row in found]
    assert (languages.count("en"), languages.count("sw")) == (english, swahili)


def test_shares_are_parts_of_all_answered_examples():
    dice = random.Random(1)
    many = {
        "a": lambda m, d: (([], "a") for _ in range(1000)),
        "b": lambda m, d: (([], "b") for _ in range(7)),
    }
    found = mix(Material("sw"), SWAHILI, {"a": 0.3, "b": 0.1}, many, dice)
    origins = [origin for _, origin in found]
    assert (len(origins), origins.count("a"), origins.count("b")) == (97, 30, 7)
    # More than everything: the rows stay, what is built is cut down in proportion.
    full = mix(Material("sw"), SWAHILI, {"a": 1.0}, many, dice)
    assert len(full) == 60 + 1000
    # Without rows the largest share is used whole and measures the other.
    alone = [o for _, o in mix(Material("sw"), [], {"a": 0.1, "b": 0.2}, many, dice)]
    assert (alone.count("b"), alone.count("a")) == (7, 4)
    assert mix(Material("sw"), SWAHILI, {"a": 0.0}, many, dice) == [
        (row.turns, "instructions") for row in SWAHILI
    ]
