from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training import tiny
from training.data.builders.material import instructions_of, parallel_instructions
from training.data.rows import read_rows, read_texts
from training.errors import BaseUnsuitable, DiskFull, TokenizerMismatch, TooLittleText
from training.spec import (
    ContinuePretraining,
    Corpus,
    Data,
    Evaluate,
    JobSpec,
    Prepare,
    TuneInstructions,
)
from training.stages import prepare

STAGES = (Prepare(), Evaluate(sample_tokens=4))


def _run(job: JobSpec, folder: Path):
    context = tiny.context(job, job.stages[0], folder / "run")
    return prepare.run(context), context.folder


def test_the_base_is_measured_on_held_out_text(tmp_path: Path) -> None:
    figures, folder = _run(tiny.spec(tmp_path, STAGES), tmp_path)
    before = figures["before"]
    assert before["bits_per_byte"]["target"] > 2
    assert before["bits_per_byte"]["protected"] > 0
    assert before["tokenizer"]["vocabulary"] == 320
    assert [sample["prompt"] for sample in before["samples"]] == ["қабар"]
    for role in ("target", "protected"):
        for part in prepare.PARTS:
            texts = list(read_texts(folder / f"{role}-{part}.jsonl"))
            counted = figures["split"][role][part]
            assert counted["documents"] == len(texts) > 0
            assert counted["characters"] == sum(map(len, texts))


def test_nothing_protected_has_no_figures(tmp_path: Path) -> None:
    figures, folder = _run(tiny.spec(tmp_path, STAGES, protected=False), tmp_path)
    assert figures["before"]["bits_per_byte"]["protected"] is None
    assert (folder / "protected-train.jsonl").read_text() == ""


def test_parallel_text_and_instructions_are_divided(tmp_path: Path) -> None:
    pairs = [{"source": f"cat {n}", "target": f"мысық {n}"} for n in range(60)]
    turns = [{"messages": [{"role": "user", "content": str(n)}]} for n in range(60)]
    job = tiny.spec(tmp_path, STAGES)
    tiny.write_rows(tmp_path / "pairs.jsonl", pairs + pairs[:5])
    tiny.write_rows(tmp_path / "turns.jsonl", turns)
    parallel = Corpus(str(tmp_path / "pairs.jsonl"), "parallel", ("en", "kk"))
    asked = Corpus(str(tmp_path / "turns.jsonl"), "instructions", ("kk",))
    data = replace(job.data, parallel=(parallel,), instructions=(asked,))
    figures, folder = _run(replace(job, data=data), tmp_path)
    assert figures["split"]["parallel"] == {"train": 58, "held_out": 2}
    train = list(read_rows(folder / "parallel-train.jsonl"))
    held_out = list(read_rows(folder / "parallel-held_out.jsonl"))
    assert all(row["languages"] == ["en", "kk"] for row in train + held_out)
    assert not {r["source"] for r in train} & {r["source"] for r in held_out}
    assert (folder / "instructions-held_out.jsonl").is_file()


@pytest.mark.parametrize(
    ("texts", "said"),
    [(["аб" * 400], "800"), (["бір жол"] * 2_000, "7"), (["а" * 9_000], "repeat")],
)
def test_too_little_text_is_refused(tmp_path: Path, texts, said: str) -> None:
    job = tiny.spec(tmp_path, (*STAGES, ContinuePretraining()))
    target = tiny.corpus(tmp_path / "little.jsonl", texts)
    job = replace(job, data=Data(target=(target,)))
    with pytest.raises(TooLittleText, match=said):
        _run(job, tmp_path)


def test_little_protected_text_is_said_and_left_out(tmp_path: Path) -> None:
    job = tiny.spec(tmp_path, STAGES)
    kept = tiny.corpus(tmp_path / "few.jsonl", ["only a few words"], language="en")
    job = replace(job, data=replace(job.data, protected=(kept,)))
    figures, _ = _run(job, tmp_path)
    assert figures["before"]["bits_per_byte"]["protected"] is None
    assert "nothing is protected" in (tmp_path / "run/events.jsonl").read_text()


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    job = tiny.spec(tmp_path, STAGES)
    tiny.tokenizer(tiny.documents(50), size=700).save_pretrained(job.base)
    with pytest.raises(TokenizerMismatch):
        _run(job, tmp_path)


def test_a_base_without_weights_is_refused(tmp_path: Path) -> None:
    job = tiny.spec(tmp_path, STAGES)
    (Path(job.base) / "model.safetensors").unlink()
    with pytest.raises(BaseUnsuitable):
        _run(job, tmp_path)


def test_too_little_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tiny.spec(tmp_path, (*STAGES, ContinuePretraining()))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        prepare.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000)
    )
    with pytest.raises(DiskFull, match="GB"):
        _run(job, tmp_path)


def test_half_a_character_in_a_row_is_left_out(tmp_path: Path) -> None:
    """A lone surrogate is valid JSON and no UTF-8."""
    row = {"source": "cat", "target": "мысық\ud83d"}
    job = tiny.spec(tmp_path, STAGES)
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    parallel = Corpus(str(tmp_path / "pairs.jsonl"), "parallel", ("en", "kk"))
    data = replace(job.data, parallel=(parallel,))
    _, folder = _run(replace(job, data=data), tmp_path)
    (read,) = read_rows(folder / "parallel-train.jsonl")
    assert read["target"] == "мысық"


def test_a_job_that_reads_no_text_is_measured_on_held_out_rows(tmp_path: Path) -> None:
    pairs = [{"source": f"cat {n}", "target": f"мысық {n}"} for n in range(60)]
    turns = [{"question": f"Кім {n}?", "answer": f"Мен {n}."} for n in range(60)]
    tiny.write_rows(tmp_path / "pairs.jsonl", pairs)
    tiny.write_rows(tmp_path / "turns.jsonl", turns)
    parallel = Corpus(str(tmp_path / "pairs.jsonl"), "parallel", ("en", "kk"))
    asked = Corpus(str(tmp_path / "turns.jsonl"), "instructions", ("kk",))
    data = Data(parallel=(parallel,), instructions=(asked,))
    job = replace(tiny.spec(tmp_path, (Prepare(), TuneInstructions())), data=data)
    figures, folder = _run(job, tmp_path)
    held_out = set(read_texts(folder / "target-held_out.jsonl"))
    assert len(held_out) == 4
    assert all(text.startswith(("мысық", "Мен")) for text in held_out)
    assert figures["before"]["bits_per_byte"]["target"] > 0
    reading = replace(job, stages=(Prepare(), ContinuePretraining()))
    with pytest.raises(TooLittleText, match="0 different characters"):
        _run(reading, tmp_path / "control")
    with pytest.raises(TooLittleText, match="fewer than 10"):
        _run(replace(job, data=Data()), tmp_path / "nothing")


def test_related_text_and_dictionary_are_kept_by_language(tmp_path: Path) -> None:
    """Each row says its language, and nothing held out comes back by another door."""
    job = tiny.spec(tmp_path, STAGES)
    target = list(tiny.documents(120))
    related = tiny.documents(150, script="tibetan") + target
    turkic = tiny.corpus(tmp_path / "related.jsonl", related, language="bo")
    words = Corpus(str(tmp_path / "words.jsonl"), "parallel", ("en", "kk"))
    tiny.write_rows(
        tmp_path / "words.jsonl", [{"source": "cat", "target": "мысық"}] * 2
    )
    # One sentence with the number of its document is in no other document.
    said = [{"question": "?", "answer": text.split(".")[0] + "."} for text in target]
    tiny.write_rows(tmp_path / "said.jsonl", said)
    asked = Corpus(str(tmp_path / "said.jsonl"), "instructions", ("kk",))
    data = replace(
        job.data, related=(turkic,), dictionary=(words,), instructions=(asked,)
    )
    figures, folder = _run(replace(job, data=data), tmp_path)
    held_out = list(read_texts(folder / "target-held_out.jsonl"))
    held_out += read_texts(folder / "target-validation.jsonl")
    first = {text.split(".")[0] for text in held_out}
    answers = {
        row["answer"][:-1] for row in read_rows(folder / "instructions-train.jsonl")
    }
    assert first and not first & answers
    assert first & {row["answer"][:-1] for row in said}
    assert figures["left_out"]["instructions"] == len(said) - sum(
        figures["split"]["instructions"].values()
    )
    rows = list(read_rows(folder / "related-train.jsonl"))
    assert {row["language"] for row in rows} == {"bo"}
    assert not first & {row["text"].split(".")[0] for row in rows}
    assert figures["split"]["dictionary"] == {"train": 1}
    for role, language in (("target", "kk"), ("protected", "en")):
        rows = list(read_rows(folder / f"{role}-train.jsonl"))
        assert {row["language"] for row in rows} == {language}


@pytest.mark.parametrize("tag", ["kaz", "kk-Cyrl", "kk-KZ", "kk"])
def test_data_comes_under_the_tags_of_the_job(tmp_path: Path, tag: str) -> None:
    """Whatever a dataset calls the language, what is built from it is the same."""
    job = tiny.spec(tmp_path, STAGES)
    pairs = [{"source": f"мысық {n}", "target": f"cat {n}"} for n in range(30)]
    asked = [
        {"id": n, "question": said.format(n), "answer": said.format(n), **named}
        for n in range(30)
        for said, named in (("мысық {}", {}), ("cat {}", {"language": "eng"}))
    ]
    tiny.write_rows(tmp_path / "pairs.jsonl", pairs)
    tiny.write_rows(tmp_path / "asked.jsonl", asked)
    parallel = Corpus(str(tmp_path / "pairs.jsonl"), "parallel", (tag, "en-US"))
    chats = Corpus(str(tmp_path / "asked.jsonl"), "instructions", (tag,))
    target = replace(job.data.target[0], languages=("en", tag))
    data = replace(
        job.data, target=(target,), parallel=(parallel,), instructions=(chats,)
    )
    _, folder = _run(replace(job, data=data), tmp_path)

    def languages(role: str, part: str = "train") -> set:
        rows = read_rows(folder / f"{role}-{part}.jsonl")
        return {str(row.get("language") or row.get("languages")) for row in rows}

    assert languages("target") == {"kk"}
    assert languages("parallel") == languages("parallel", "held_out")
    assert languages("parallel") == {"['kk', 'en']"}
    assert languages("instructions") == {"kk", "en"}
    found, _ = instructions_of(read_rows(folder / "instructions-train.jsonl"), "kk")
    both = parallel_instructions(found, "kk")
    assert len(both) > 20 and all(one.language == "en" for one, _ in both)


def test_another_script_is_another_language(tmp_path: Path) -> None:
    job = replace(tiny.spec(tmp_path, STAGES), language="kk-Cyrl")
    pairs = [{"source": f"mysyq {n}", "target": f"мысық {n}"} for n in range(30)]
    tiny.write_rows(tmp_path / "pairs.jsonl", pairs)
    parallel = Corpus(str(tmp_path / "pairs.jsonl"), "parallel", ("kk-Latn", "kaz"))
    _, folder = _run(
        replace(job, data=replace(job.data, parallel=(parallel,))), tmp_path
    )
    rows = read_rows(folder / "parallel-train.jsonl")
    assert {tuple(row["languages"]) for row in rows} == {("kk-Latn", "kk-Cyrl")}
