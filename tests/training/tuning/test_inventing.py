"""A tuning that learns from what a service invents: a real one, small, in this process."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from tests.training import tiny
from tests.training.chat_service import teach
from tests.training.stages.test_tune_instructions import SETTINGS, events_of, job
from training.data.asked import Cache
from training.data.chat_client import ChatClient
from training.errors import EXIT_FAILED, MaterialMissing, Stopped, TranslatorUnavailable
from training.events import read_events
from training.run import run_job
from training.settings.needs import refuse_absent
from training.spec import Prepare
from training.stages import tune_instructions
from training.tuning import inventing

pytestmark = pytest.mark.slow  # needs torch

TEXTS = tiny.documents(30, sentences=6)
INVENTING = dataclasses.replace(
    SETTINGS, invented_conversations=12, invented_turns=2, translation_share=0.0
)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service):
    """A job over Cyrillic documents, and a teacher who answers."""
    made = job(tmp_path, INVENTING, chats=0, pairs=0)
    rows = [{"text": text} for text in TEXTS]
    tiny.write_rows(made.prepared / "target-train.jsonl", rows)
    service.say = staticmethod(teach)
    monkeypatch.setenv("MOTHERTONGUE_TRANSLATOR_URL", service.url)
    monkeypatch.setenv("MOTHERTONGUE_TRANSLATOR_MODEL", "small")
    return made


def quick(monkeypatch: pytest.MonkeyPatch, **more) -> None:
    """Pauses and patience of a test."""
    made = ChatClient.from_environment()
    client = dataclasses.replace(made, sleep=lambda _: None, **more)
    monkeypatch.setattr(ChatClient, "from_environment", lambda: client)


def test_a_tuning_learns_from_what_was_invented(context, service) -> None:
    figures = tune_instructions.run(context)
    told = figures["invented"]
    assert told["teacher"] == "small" and told["passages"] == 12
    assert told["conversations"] == figures["origins"]["invented by small"] == 12
    assert told["questions"] == 24 and told["left_out"] == told["cut_short"] == {}
    lines = (context.folder / "invented.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 12 and {row["teacher"] for row in rows} == {"small"}
    for row in rows:
        # What was asked names its document by the number that the text begins with.
        assert row["messages"][0]["content"].split()[0] == str(int(row["document"]) - 1)
        assert len(row["messages"]) == 4
    assert len(service.asked) == 48
    assert "12 conversations were invented" in events_of(context, "note")[0]["sentence"]


def test_only_training_text_is_shown_and_nothing_held_out_is_learned(
    context, service
) -> None:
    held_out = "Бұл сөйлем ешқашан үйретілмеуі керек мәтіннен алынды"
    rows = [{"text": held_out + "."}]
    tiny.write_rows(context.prepared / "target-held_out.jsonl", rows)
    tiny.write_rows(Path(context.spec.data.target[0].path), rows)
    service.say = staticmethod(lambda shown: held_out)
    rows, figures = inventing.conversations(context, INVENTING)
    assert rows == [] and figures["left_out"] == {"held out": 12}
    shown = json.dumps([a["messages"] for a in service.asked], ensure_ascii=False)
    assert held_out not in shown and TEXTS[0].split()[1] in shown
    (note,) = events_of(context, "note")
    assert note["level"] == "warning" and "left out: 12 held out" in note["sentence"]


def test_what_was_answered_is_not_asked_again_after_a_failure(
    context, service, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    service.plan[:] = [200] * 20 + [401] * 20
    with pytest.raises(TranslatorUnavailable, match="status 401"):
        inventing.conversations(context, INVENTING)
    service.plan.clear()
    answered = (context.work / "invented.jsonl").read_text().splitlines()
    assert len(answered) == 20
    # A kill may also cut the last line short.
    (context.work / "invented.jsonl").write_text("\n".join(answered)[:-9])
    before = len(service.asked)
    rows, figures = inventing.conversations(context, INVENTING)
    assert len(rows) == 12 and len(service.asked) - before == 48 - 19
    asked = len(service.asked)
    assert inventing.conversations(context, INVENTING) == (rows, figures)
    assert len(service.asked) == asked


def test_passing_faults_and_slowness_are_tried_again_with_a_limit(
    context, service, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = dataclasses.replace(INVENTING, invented_conversations=1)
    quick(monkeypatch, timeout_seconds=0.3)
    service.plan[:] = [503, 429]
    rows, _ = inventing.conversations(context, one)
    assert len(rows) == 1 and len(service.asked) == 4 + 2
    (context.work / "invented.jsonl").unlink()
    service.say = staticmethod(lambda shown: time.sleep(0.6) or "")
    with pytest.raises(TranslatorUnavailable, match="cannot be reached: .*timed out"):
        inventing.conversations(context, one)
    assert len(service.asked) == 6 + 4


def test_rubbish_is_left_out_and_another_form_refused(context, service) -> None:
    answers = iter(["", "?", "Only English words here, all of them.", None])
    settings = dataclasses.replace(INVENTING, invented_conversations=3)
    service.say = staticmethod(lambda shown: next(answers))
    rows, figures = inventing.conversations(context, settings)
    assert rows == [] and figures["left_out"] == {"empty": 1, "short": 1, "script": 1}
    (context.work / "invented.txt").unlink()
    with pytest.raises(TranslatorUnavailable, match="another form"):
        inventing.conversations(
            context, dataclasses.replace(settings, invented_conversations=4)
        )


def test_time_ends_the_work_and_a_resumed_run_learns_from_as_much(
    context, service
) -> None:
    """One round of eight in the time; the second attempt has more and asks for no more."""
    hurried = dataclasses.replace(INVENTING, generation_minutes=0.01)
    service.say = staticmethod(lambda shown: time.sleep(0.2) or teach(shown))
    first, figures = inventing.conversations(context, hurried)
    assert len(first) == 8 and figures["unfinished"] == 4
    asked = len(service.asked)
    assert inventing.conversations(context, INVENTING) == (first, figures)
    assert len(service.asked) == asked


def test_a_stop_stops(context, service) -> None:
    context.stop.requested = True
    with pytest.raises(Stopped):
        inventing.conversations(context, INVENTING)
    assert service.asked == [] and not (context.work / "invented.txt").exists()


def test_without_a_service_or_text_the_job_is_refused_before_its_first_stage(
    context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = dataclasses.replace(context.spec, stages=(Prepare(), INVENTING))
    refuse_absent(spec)
    bare = dataclasses.replace(spec, data=dataclasses.replace(spec.data, target=()))
    with pytest.raises(MaterialMissing, match="text in the language"):
        refuse_absent(bare)
    monkeypatch.delenv("MOTHERTONGUE_TRANSLATOR_URL")
    assert run_job(spec, tmp_path / "refused") == EXIT_FAILED
    events, _ = read_events(tmp_path / "refused/events.jsonl")
    assert not any(event["kind"] == "stage_started" for event in events)
    assert events[-1]["code"] == "translator_unavailable"
    assert "MOTHERTONGUE_TRANSLATOR_URL" in events[-1]["hint"]
    translating = dataclasses.replace(SETTINGS, translated_rows=5)
    with pytest.raises(TranslatorUnavailable, match="Translator: endpoint"):
        refuse_absent(dataclasses.replace(spec, stages=(translating,)))
    by_itself = dataclasses.replace(translating, translator="model")
    for stage in (by_itself, SETTINGS):
        refuse_absent(dataclasses.replace(spec, stages=(stage,)))


def test_a_line_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "cache.jsonl"
    Cache(path, "small").get(["a"], lambda: "one")
    path.write_bytes(path.read_bytes()[:-9])
    Cache(path, "small").get(["b"], lambda: "two")
    again = Cache(path, "small")
    assert again.get(["b"], lambda: "asked") == "two"
    assert again.get(["a"], lambda: "asked") == "asked"
