"""Translating instructions through a service: a real one, small, in this process."""

from __future__ import annotations

from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.training.chat_service import Service
from training.data.asked import Cache
from training.data.builders.material import Instruction, question
from training.data.chat_client import ChatClient
from training.data.pairs import Pair
from training.data.text_quality import chrf, in_scripts, repeats_itself, usual_scripts
from training.data.translate import Filter, by_client, through, translate_rows
from training.errors import TranslatorUnavailable


def client_of(service, **more) -> ChatClient:
    environment = {
        "MOTHERTONGUE_TRANSLATOR_URL": service.url,
        "MOTHERTONGUE_TRANSLATOR_MODEL": "small",
        "MOTHERTONGUE_TRANSLATOR_KEY": "secret",
    }
    made = ChatClient.from_environment(environment)
    return ChatClient(made.url, made.model, made.key, sleep=lambda _: None, **more)


ROWS = [
    Instruction(question("Where is the river today", "river"), "en", "1"),
    Instruction(question("How many people live in the village?", "ten"), "en", "2"),
]


def test_rows_come_back_in_the_language_with_key_and_origin(service, tmp_path: Path):
    cache = Cache(tmp_path / "cache.jsonl", "small")
    translate = through(cache, by_client(client_of(service)))
    found = translate_rows(ROWS, "sw", translate, Filter())
    assert [row.key for row in found.rows] == ["1", "2"]
    assert {(row.language, row.origin) for row in found.rows} == {("sw", "translated")}
    assert found.rows[0].turns == question("Mto uko wapi leo hii", "mto")
    asked = service.asked[0]
    assert asked["model"] == "small" and asked["key"] == "Bearer secret"
    assert asked["temperature"] == 0
    assert "from English into Swahili" in asked["messages"][-1]["content"]
    # A second run asks for nothing, and a line cut short costs one question only.
    count = len(service.asked)
    path = tmp_path / "cache.jsonl"
    again = through(Cache(path, "small"), by_client(client_of(service)))
    assert translate_rows(ROWS, "sw", again, Filter()).rows == found.rows
    assert len(service.asked) == count == 4
    path.write_bytes(path.read_bytes()[:-9])
    again = through(Cache(path, "small"), by_client(client_of(service)))
    assert translate_rows(ROWS, "sw", again, Filter()).rows == found.rows
    assert len(service.asked) == count + 1
    other = through(Cache(path, "another model"), by_client(client_of(service)))
    translate_rows(ROWS, "sw", other, Filter())
    assert len(service.asked) == count + 5


def test_passing_faults_are_asked_again_and_lasting_ones_said(service):
    waited: list[float] = []
    service.plan[:] = [503, 429]
    client = client_of(service)
    client = ChatClient(client.url, sleep=waited.append)
    assert by_client(client)("river", "en", "sw") == "mto"
    assert waited == [1.0, 2.0] and len(service.asked) == 3
    service.plan[:] = [401]
    with pytest.raises(TranslatorUnavailable, match="status 401.*not now"):
        by_client(client)("river", "en", "sw")
    assert len(service.asked) == 4
    service.plan[:] = [500] * 4
    with pytest.raises(TranslatorUnavailable, match="status 500"):
        by_client(client)("river", "en", "sw")


def test_nobody_there_no_address_and_another_form_are_refused_in_words(service):
    service.say = staticmethod(lambda text: None)
    with pytest.raises(TranslatorUnavailable, match="another form"):
        by_client(client_of(service))("river", "en", "sw")
    # A port that was just free.
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    server.server_close()
    nobody = ChatClient(url, attempts=2, sleep=lambda _: None)
    with pytest.raises(TranslatorUnavailable, match="cannot be reached: .*refused"):
        nobody.answer(question("a", "b")[:1])
    with pytest.raises(TranslatorUnavailable, match="No service that writes"):
        ChatClient.from_environment({})
    with pytest.raises(TranslatorUnavailable, match="no http"):
        ChatClient.from_environment({"MOTHERTONGUE_TRANSLATOR_URL": "file:///etc"})


def test_the_key_is_not_shown(service):
    assert "secret" not in repr(client_of(service))


LONG = "Where do the children of this village go to school in the morning?"
GOOD = "Watoto wa kijiji hiki huenda shule wapi asubuhi ya leo?"
USUAL = Filter.of([GOOD], [Pair(("en", "sw"), (LONG, GOOD))] * 20, "sw")


@pytest.mark.parametrize(
    ("source", "translated", "fault"),
    [
        (LONG, GOOD, ""),
        ("Yes.", "Yes.", ""),
        (LONG, " ", "empty"),
        (LONG, LONG, "copied"),
        (LONG, LONG.replace("village", "kijiji"), "copied"),
        (LONG, "Бұл ауылдың балалары таңертең қайда оқиды екен?", "script"),
        (LONG, "Wapi?", "length"),
        (
            LONG,
            GOOD + " Soma kitabu cha pili na cha tatu leo. " * 5,
            "repeated",
        ),
        (LONG, "shule ya leo asubuhi " * 6, "repeated"),
    ],
)
def test_what_is_not_learned_from(source: str, translated: str, fault: str):
    assert USUAL.fault(source, translated) == fault


def test_a_row_is_left_out_with_its_reason_and_time_ends_the_work(service):
    translate = {LONG: LONG, "ok": "sawa"}
    rows = [Instruction(question(LONG, "ok"), "en")] * 3
    found = translate_rows(
        rows, "sw", lambda text, *_: translate[text], USUAL, workers=1
    )
    assert not found.rows and found.left_out == {"copied": 3}
    clock = iter(range(0, 100, 10))
    found = translate_rows(
        [Instruction(question("ok", "ok"), "en")] * 3,
        "sw",
        lambda text, *_: "sawa",
        USUAL,
        seconds=15,
        workers=1,
        clock=lambda: next(clock),
    )
    assert len(found.rows) == 1 and found.unfinished == 2


def test_there_and_back():
    there = {LONG: GOOD, GOOD: LONG}
    row = [Instruction(question(LONG, "ok"), "en")]

    def faithful(text: str, *_: str) -> str:
        return there.get(text, "sawa")

    def astray(text: str, source: str, target: str) -> str:
        return faithful(text) if target == "sw" else "Quite another sentence, my dear."

    kept = translate_rows(row, "sw", faithful, USUAL, least_chrf=60)
    assert len(kept.rows) == 1
    lost = translate_rows(row, "sw", astray, USUAL, least_chrf=60)
    assert lost.left_out == {"translated back": 1}
    assert len(translate_rows(row, "sw", astray, USUAL).rows) == 1


def test_chrf():
    assert chrf(LONG, LONG) == pytest.approx(100)
    assert chrf("abc", "xyz") == 0 == chrf("", "abc")
    # One order each of "ab" against "abc": P 2/2, R 2/3; P 1/1, R 1/2; 3-grams absent.
    recall, precision = (2 / 3 + 1 / 2) / 2, 1.0
    expected = 100 * 5 * precision * recall / (4 * precision + recall)
    assert chrf("ab", "abc") == pytest.approx(expected)


def test_scripts_and_circles():
    assert usual_scripts(["Мама мыла раму", "a"]) == {"CYRILLIC"}
    assert in_scripts("བོད་སྐད།", {"TIBETAN"}) and in_scripts("123 !", {"TIBETAN"})
    assert not in_scripts("only English here", {"TIBETAN"})
    assert repeats_itself("བོད་སྐད་ཡིག་གི་མི་" * 6)
    assert not repeats_itself(GOOD) and not repeats_itself("")
