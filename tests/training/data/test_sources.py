from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.training import tiny
from training.data.packing import Packer
from training.data.sources import Mix
from training.errors import InputMissing, MaterialMissing
from training.spec import ContinuePretraining

SETTINGS = ContinuePretraining(batch_blocks=2, replay_share=0.2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")

    def texts(name: str, **scripts: tuple[str, int]) -> None:
        rows = [
            {"text": text, "language": language}
            for language, (script, count) in scripts.items()
            for text in tiny.documents(count, script=script)
        ]
        tiny.write_rows(folder / f"{name}-train.jsonl", rows)

    texts("target", kk=("cyrillic", 40))
    texts("protected", en=("latin", 60), hi=("devanagari", 20))
    texts("related", bo=("tibetan", 80))
    pairs = [
        {"source": f"the cat {n}", "target": f"мысық {n}", "languages": ["en", "kk"]}
        for n in range(60)
    ]
    tiny.write_rows(folder / "parallel-train.jsonl", pairs)
    asked = [{"question": f"Кім {n}?", "answer": f"Мен {n}."} for n in range(60)]
    tiny.write_rows(folder / "instructions-train.jsonl", asked)
    return folder


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer(tiny.documents(60) + tiny.documents(60, script="latin"))


def _packer(
    prepared: Path, work: Path, tokenizer: Any, said: list[str] | None = None, **values
) -> Packer:
    settings = replace(SETTINGS, **values)
    mix = Mix(settings, prepared, work, "kk", 1)
    return mix.packer(tokenizer, 64, (said if said is not None else []).append)


def _text(packer: Packer, tokenizer: Any, steps: int = 60) -> str:
    return "\n".join(
        tokenizer.decode(batch.ids[batch.documents >= 0])
        for batch in islice(packer.batches(0, steps), steps)
    )


def test_the_usual_mix_is_target_and_protected(
    prepared: Path, tmp_path: Path, tokenizer: Any
) -> None:
    alone = tmp_path / "alone"
    for role in ("target", "protected"):
        rows = (prepared / f"{role}-train.jsonl").read_text()
        lines = [line for line in rows.splitlines() if '"hi"' not in line]
        alone.mkdir(exist_ok=True)
        (alone / f"{role}-train.jsonl").write_text("\n".join(lines) + "\n")
    packer = _packer(alone, tmp_path / "w", tokenizer)
    assert packer.shares == pytest.approx((0.8, 0.2))
    assert (packer.targets, packer.stages, packer.cycle) == (1, [], 0)


def test_every_source_has_its_share(
    prepared: Path, tmp_path: Path, tokenizer: Any
) -> None:
    packer = _packer(
        prepared,
        tmp_path,
        tokenizer,
        parallel_share=0.1,
        interlinear_share=0.1,
        instruction_share=0.1,
        sampling_exponent=0.5,
    )
    # target kk; protected en, hi; related bo; parallel, interlinear, instructions
    assert len(packer.sources) == 7
    assert sum(packer.shares) == pytest.approx(1)
    assert packer.shares[4:] == pytest.approx((0.1, 0.1, 0.1))
    assert sum(packer.shares[1:3]) == pytest.approx(0.2)
    sizes = [source.total_bytes for source in packer.sources]
    assert packer.shares[3] / packer.shares[0] == pytest.approx(
        (sizes[3] / sizes[0]) ** 0.5
    )
    assert packer.shares[1] / packer.shares[2] == pytest.approx(
        (sizes[1] / sizes[2]) ** 0.5
    )
    given = [0.0] * 7
    for block in islice(packer.layouts(), 600):
        for source, passage, _, count in block:
            file = packer.sources[source]
            given[source] += file.sizes[passage] * count / file.length(passage)
    for part, share in zip(given, packer.shares, strict=True):
        assert part / sum(given) == pytest.approx(share, abs=0.02)


def test_languages_can_come_one_after_the_other(
    prepared: Path, tmp_path: Path, tokenizer: Any
) -> None:
    packer = _packer(
        prepared,
        tmp_path,
        tokenizer,
        curriculum="high_resource_first",
        curriculum_start=0.5,
    )
    # Tibetan has more text than the target and comes alone at first.
    assert packer.shares_at(0.4)[0] == 0 and packer.shares_at(0.4)[3] > 0.7
    assert packer.shares_at(0.5)[0] > 0.1
    staged = _packer(
        prepared,
        tmp_path,
        tokenizer,
        curriculum="staged",
        mix_stages="0: target 1; 0.6: interlinear 0.5, protected 0.5",
    )
    begin = _text(staged, tokenizer, steps=3)
    assert "мысық" not in begin
    assert staged.shares_at(0.0)[0] == 1
    assert staged.shares_at(0.7)[0] == 0 and staged.shares_at(0.7)[-1] == 0.5


def test_what_is_asked_for_and_absent_is_said(
    prepared: Path, tmp_path: Path, tokenizer: Any
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "target-train.jsonl").write_text(
        (prepared / "target-train.jsonl").read_text()
    )
    (bare / "protected-train.jsonl").write_text("")
    said: list[str] = []
    packer = _packer(bare, tmp_path / "w", tokenizer, said, parallel_share=0.5)
    assert len(said) == 1 and "parallel" in said[0]
    assert "мысық" not in _text(packer, tokenizer, steps=4)
    with pytest.raises(InputMissing, match="60% of the way"):
        _packer(
            bare,
            tmp_path / "w",
            tokenizer,
            curriculum="staged",
            mix_stages="0: text 1; 0.6: interlinear 1",
        )
    with pytest.raises(MaterialMissing, match="no dictionary"):
        _packer(bare, tmp_path / "w", tokenizer, entity_insertion=0.5)


def test_words_of_the_dictionary_stand_in_the_text(
    prepared: Path, tmp_path: Path, tokenizer: Any
) -> None:
    """LEIA: read and not learned; a resumed run finds the same ids."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    for path in prepared.iterdir():
        (folder / path.name).write_text(path.read_text())
    word = tiny.documents(1)[0].split()[1]
    row = {"source": "NAME", "target": word, "languages": ["en", "kk"]}
    tiny.write_rows(folder / "dictionary-train.jsonl", [row])
    work = tmp_path / "w"
    packer = _packer(folder, work, tokenizer, entity_insertion=1.0, replay_share=0.0)
    batches = list(islice(packer.batches(), 40))
    text = "".join(tokenizer.decode(b.ids[b.documents >= 0]) for b in batches)
    learned = "".join(tokenizer.decode(b.labels[b.labels >= 0]) for b in batches)
    assert f"{word}<translate>NAME</translate>" in text
    assert word in learned and "NAME" not in learned
    ids = work / "target-ids/ids.bin"
    before = ids.read_bytes(), ids.stat().st_mtime_ns
    _packer(folder, work, tokenizer, entity_insertion=1.0, replay_share=0.0)
    assert before == (ids.read_bytes(), ids.stat().st_mtime_ns)
    switched = _packer(
        folder, tmp_path / "s", tokenizer, code_switching=1.0, replay_share=0.0
    )
    text = _text(switched, tokenizer)
    assert "NAME" in text and f" {word} " not in text
    plain = _text(
        _packer(folder, tmp_path / "p", tokenizer, replay_share=0.0), tokenizer
    )
    assert "NAME" not in plain and f" {word} " in plain


@pytest.mark.parametrize("values", [{"entity_insertion": 1.0}, {"code_switching": 1.0}])
def test_a_dictionary_without_a_word_of_the_text_is_said(
    prepared: Path, tmp_path: Path, tokenizer: Any, values: dict
) -> None:
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    word = tiny.documents(1)[0].split()[1]
    for source, told in ((None, 1), ("қайда", 1), (word, 0)):
        row = {"source": source, "target": "NAME", "languages": ["kk", "en"]}
        tiny.write_rows(
            folder / "dictionary-train.jsonl", [row] if source is not None else []
        )
        said: list[str] = []
        _packer(folder, tmp_path / f"w {source}", tokenizer, said, **values)
        assert len(said) == told, source
        assert all("No word of the dictionary" in sentence for sentence in said)


def test_identity_names_every_text(prepared: Path, tmp_path: Path) -> None:
    plain = Mix(SETTINGS, prepared, tmp_path, "kk", 1).identity()
    assert set(plain) == {"target text", "protected text", "related text"}
    asked = replace(SETTINGS, parallel_share=0.1)
    more = Mix(asked, prepared, tmp_path, "kk", 1).identity()
    assert set(more) == {*plain, "parallel text"}


@pytest.mark.parametrize(
    "changed",
    [
        {"code_switching": 0.5},
        {"entity_marks": "parentheses"},
        {"seed": 2},
        {"meaning": "мяу"},
        {},
    ],
    ids=str,
)
def test_a_mix_that_was_begun_is_not_taken_for_another(
    prepared: Path, tmp_path: Path, tokenizer: Any, changed: dict[str, Any]
) -> None:
    """Stopped before the plan was written, and begun anew with other settings."""
    words = tmp_path / "prepared"
    words.mkdir()
    for path in prepared.iterdir():
        (words / path.name).symlink_to(path)

    def text(seed: int = 1, meaning: str = "cat", **values: Any) -> str:
        row = {"source": meaning, "target": "тұр", "languages": ["en", "kk"]}
        tiny.write_rows(words / "dictionary-train.jsonl", _dictionary(words, row))
        settings = replace(SETTINGS, entity_insertion=0.5, **values)
        Mix(settings, words, tmp_path, "kk", seed).tokens("target", tokenizer, 64)
        return (tmp_path / "mix" / "target" / "rows.jsonl").read_text("utf-8")

    first = text()
    assert "cat" in first
    assert (text(**changed) == first) == (not changed)


def _dictionary(folder: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Each word of the first document means what `row` says."""
    line = (folder / "target-train.jsonl").read_text("utf-8").splitlines()[0]
    found = sorted({word.strip(".") for word in json.loads(line)["text"].split()})
    return [{**row, "target": word} for word in found]
