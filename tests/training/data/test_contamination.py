from __future__ import annotations

import pytest

from training.data.contamination import Guard

HELD_OUT = "Бірінші сөйлем осы жерде тұр. Екінші сөйлем басқа жерде тұр!\nҮшінші жол."


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Кіріспе. Бірінші  сөйлем осы\tжерде тұр. Соңы."},
        {"source": "The first stands here.", "target": "Бірінші сөйлем осы жерде тұр."},
        {"messages": [{"role": "user", "content": "Екінші сөйлем басқа жерде тұр!"}]},
        {"chosen": "Екінші сөйлем басқа жерде тұр", "rejected": "?"},
    ],
)
def test_a_sentence_is_found_wherever_it_stands(row: dict) -> None:
    assert Guard([HELD_OUT]).touches(row)
    assert not Guard().touches(row)


@pytest.mark.parametrize(
    "text",
    [
        "Үшінші жол.",  # too short to say anything
        "Бірінші сөйлем осы жерде тұрмайды.",
        "сөйлем осы жерде тұр. Бірінші",
    ],
)
def test_other_sentences_stay(text: str) -> None:
    assert not Guard([HELD_OUT]).touches({"text": text})


def test_scripts_without_spaces_are_guarded() -> None:
    held_out = "他们在河边的小村子里住了很多年。后来他们走了。"
    assert Guard([held_out]).touches("前言。他们在河边的小村子里住了很多年。")
    tibetan = "བོད་སྐད་ནི་བོད་མི་རིགས་ཀྱི་སྐད་ཡིན། དེ་ནས་ཕྱིན།"
    assert Guard([tibetan]).touches({"target": "བོད་སྐད་ནི་བོད་མི་རིགས་ཀྱི་སྐད་ཡིན།"})


def test_what_is_refused_is_counted() -> None:
    guard = Guard([HELD_OUT])
    kept = list(guard.clean(["Екінші сөйлем басқа жерде тұр!", "басқа"], "parallel"))
    assert kept == ["басқа"]
    assert guard.refused == {"parallel": 1}
