"""Latin letters, and the way back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training import tiny
from training import merging, run
from training.data import romanise
from training.data.rows import read_rows, read_texts
from training.events import read_events
from training.spec import Corpus, Data, ExtendVocabulary, Prepare
from training.stages import extend_vocabulary, prepare


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A small romaniser in the place of the library, whose tables take seconds to read:
    two letters become one, so that not every word comes back. What it wrote must not
    stay in the cache for tests that ask the library."""
    table = str.maketrans("қабрныжол।", "kabrnyjol.")
    monkeypatch.setattr(romanise, "uroman", lambda: lambda part: part.translate(table))
    romanise.romanised.cache_clear()
    yield
    romanise.romanised.cache_clear()


def test_parts_make_up_the_text() -> None:
    text = "ба  ко-re 1қ2\n\u200dё e\u0301, བོད་སྐད།"
    assert "".join(romanise.runs(text)) == text
    assert "1қ2" in list(romanise.runs(text)) and "བོད" in list(romanise.runs(text))


def test_latin_words_and_general_punctuation_stay(letters: None) -> None:
    text = "café – “Ko” 12 <a> 👍 e\u0301"
    assert romanise.romanise(text) == text
    assert romanise.romanise("қабар ko।") == "kabar ko."


def test_the_most_frequent_word_comes_back_and_the_share_says_how_often(
    letters: None,
) -> None:
    counts = Counter({"қабар": 3, "қобар": 1, "kabar": 1, "ба": 2, "ba": 5, "।": 1})
    table = romanise.table_of(counts)
    assert table == {"kabar": "қабар", "kobar": "қобар", ".": "।"}
    assert romanise.restore("kabar ba kobar.", table) == "қабар ba қобар।"
    # "ба" is written like "ba", which is more frequent: 2 of 7 do not come back.
    assert romanise.come_back(counts, table) == pytest.approx(5 / 7)
    assert romanise.come_back(counts, {}) == 0


def test_every_role_is_romanised_but_the_other_language(
    letters: None, tmp_path: Path
) -> None:
    def corpus(name: str, row: dict, *languages: str) -> Corpus:
        path = tiny.write_rows(tmp_path / f"{name}.jsonl", [row] * 40)
        kind = name.partition("-")[0]
        return Corpus(path=str(path), kind=kind, languages=languages, sha256="x")

    turn = [{"role": "user", "content": "қабар"}]
    data = Data(
        target=(corpus("monolingual", {"text": "қабар қабар"}, "kk"),),
        protected=(corpus("protected", {"text": "қабар"}, "ru"),),
        parallel=(
            corpus("parallel", {"source": "қабар", "target": "жол"}, "ru", "kk"),
        ),
        instructions=(
            corpus("instructions", {"messages": turn}, "kk"),
            corpus("instructions-kept", {"messages": turn}, "ru"),
            corpus("instructions-both", {"messages": turn, "language": "ru"}, "kk"),
        ),
    )
    record = tmp_path / "table.json"
    made, figures = romanise.rewrite(data, ("kk", "ru"), tmp_path, record)
    rows = {
        role: next(read_rows(Path(getattr(made, role)[0].path)))
        for role in ("target", "protected", "parallel", "instructions")
    }
    assert rows == {
        "target": {"text": "kabar kabar"},
        "protected": {"text": "қабар"},
        "parallel": {"source": "қабар", "target": "jol"},
        "instructions": {"messages": [{"role": "user", "content": "kabar"}]},
    }
    # Instructions in the protected language stay as they are, as its text does.
    for corpus_ in made.instructions[1:]:
        row = next(read_rows(Path(corpus_.path)))
        assert row["messages"][0]["content"] == "қабар"
    assert made.target[0].sha256 == ""
    assert figures["words"] == 80 and figures["come_back_on_new_text"] == 1
    assert figures["bytes_of_original_text"] == 40 * 21
    assert figures["bytes_of_romanised_text"] == 40 * 11
    told = json.loads(record.read_text("utf-8"))
    assert told["table"] == {"kabar": "қабар"} and told["language"] == "kk"


@pytest.mark.slow
def test_prepared_and_carried_with_the_model(letters: None, tmp_path: Path) -> None:
    job = tiny.spec(tmp_path, [Prepare(romanise="uroman")])
    context = tiny.context(job, job.stages[0], tmp_path / "run")
    figures = prepare.run(context)
    (sample,) = figures["before"]["samples"]
    assert (sample["prompt"], sample["asked"]) == ("қабар", "kabar")
    assert 0 < figures["romanisation"]["come_back_on_new_text"] <= 1
    texts = list(read_texts(context.folder / "target-train.jsonl"))
    original = Path(job.data.target[0].path).read_text("utf-8")
    assert "қ" in original and not any("қ" in text for text in texts)
    notes = [e["sentence"] for e in read_events(context.events.path)[0]]
    assert any("per byte of that text" in sentence for sentence in notes)
    settings = ExtendVocabulary(new_tokens=20, minimum_occurrences=4)
    stage = tiny.context(
        job, settings, tmp_path / "run", finished={"prepare": context.folder}
    )
    extend_vocabulary.run(stage)
    run.carry_romanisation(stage)
    folder = stage.folder / "model"
    table = json.loads((folder / romanise.FILE).read_text("utf-8"))["table"]
    back = romanise.restore(texts[0], table)
    assert back != texts[0]
    assert {part for part in romanise.runs(back)} <= set(romanise.runs(original))
    merging.copy_licence(folder, tmp_path / "run")
    assert (tmp_path / "run" / romanise.FILE).is_file()
    # A link into another stage's folder is replaced, not written through.
    linked = stage.folder / "model" / romanise.FILE
    linked.unlink()
    (tmp_path / "other").write_text("another's")
    linked.hardlink_to(tmp_path / "other")
    run.carry_romanisation(stage)
    assert (tmp_path / "other").read_text() == "another's"
    assert json.loads(linked.read_text("utf-8"))["table"] == table


def test_nothing_is_romanised_unless_it_is_asked_for(tmp_path: Path) -> None:
    job = tiny.spec(tmp_path, [Prepare()])
    context = tiny.context(job, job.stages[0], tmp_path / "run")
    figures = prepare.run(context)
    assert "romanisation" not in figures
    assert all("asked" not in sample for sample in figures["before"]["samples"])
    assert not (context.folder / romanise.FILE).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "least"), [("kazakh", 0.7), ("tibetan", 0.7), ("bengali", 0.6)]
)
def test_real_text_comes_back(shared_data: Path, language: str, least: float) -> None:
    name = "corpus-nanhai.txt" if language == "tibetan" else "corpus.txt"
    lines = (shared_data / language / name).read_text("utf-8")[:200_000].splitlines()
    parts = [Counter(p for p in romanise.runs(line) if p.strip()) for line in lines]
    learned = sum((c for i, c in enumerate(parts) if i % 20), Counter())
    new = sum((c for i, c in enumerate(parts) if not i % 20), Counter())
    table = romanise.table_of(learned)
    assert romanise.come_back(new, table) > least
    assert romanise.come_back(new, {}) < 0.2
    for line in lines[:100]:
        written = romanise.romanise(line)
        strange = [
            c for c in written if ord(c) > 0x24F and not 0x2000 <= ord(c) < 0x2070
        ]
        assert len(strange) < 0.01 * len(written) + 2, (line, written)
