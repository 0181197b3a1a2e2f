"""Every format, packed in every way; archives and what may be wrong with them."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.webapp.datasets.material import FORMATS, TEXTS, Read, packed, zipped
from webapp.datasets.reading import containers, parquet
from webapp.datasets.reading.problems import Unreadable
from webapp.datasets.reading.strangers import CONTROLS

pytestmark = pytest.mark.slow  # files of every kind, packed in every way

# Bytes that text does not hold: a short file that is full of them is refused as no text.
LETTERS = st.characters(codec="utf-8", exclude_characters=CONTROLS.decode())


@pytest.mark.parametrize("how", ["", ".gz", ".zst", ".zip"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_packed_in_every_way(
    suffix: str, how: str, tmp_path: Path
) -> None:
    name, content = packed(FORMATS[suffix](TEXTS), f"words{suffix}", how)
    found = Read(tmp_path, {name: content}, documents="lines")
    assert found.texts == TEXTS
    assert found.guess.options.kind == "monolingual"
    assert not found.reading.problems.counts and not found.reading.problems.files


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
@given(
    texts=st.lists(st.text(LETTERS, min_size=1, max_size=40), min_size=1, max_size=5)
)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_text_survives(suffix: str, texts: list[str], tmp_path: Path) -> None:
    # Stripped at the ends, as documents are; lists have their own tests.
    texts = [
        text.strip() for text in texts if text.strip() and text.strip()[0] not in "[{"
    ]
    if suffix == ".csv":  # a CSV line ends at CR as well
        texts = [" ".join(text.splitlines()).strip() for text in texts]
        texts = [text for text in texts if text and not set(text) & set("\r\n")]
    if not texts:
        return
    # Unreadable where nothing is left would be a loss as well.
    assert Read(tmp_path, {f"t{suffix}": FORMATS[suffix](texts)}).texts == texts


def test_a_cell_may_run_over_lines(tmp_path: Path) -> None:
    table = b'id,text\r\n1,"one ""two""\r\nthree"\r\n2,four\r\n'
    assert Read(tmp_path, {"t.csv": table}).texts == ['one "two"\nthree', "four"]


@pytest.mark.parametrize(
    "content",
    [
        {"data": [{"text": "one"}, {"text": "two"}]},
        [{"text": "one"}, {"text": "two"}],
        ["one", "two"],
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_lists_however_wrapped(
    content: object, indent: int | None, tmp_path: Path
) -> None:
    found = Read(tmp_path, {"t.json": json.dumps(content, indent=indent).encode()})
    assert found.texts == ["one", "two"]


def test_several_files_and_one_that_cannot_be_read(tmp_path: Path) -> None:
    files = {
        "a.jsonl": b'{"text": "one"}',
        "photo.png": b"\x89PNG",
        "b.csv": b"id,sentence\n1,two words here\n",
    }
    found = Read(tmp_path, files)
    # The second table calls the text something else: its own columns are found.
    assert found.texts == ["one", "two words here"]
    assert len(found.reading.problems.files) == 1
    assert "photo.png" in found.reading.problems.files[0]


# --- Archives --------------------------------------------------------------------------


def test_zip_with_folders_strange_paths_and_other_files(tmp_path: Path) -> None:
    archive = zipped(
        {
            "deep/folder/a.txt": b"first text",
            "../../outside.txt": b"second text",
            "/etc/absolute.txt": b"third text",
            "__MACOSX/._a.txt": b"rubbish",
            ".hidden.txt": b"rubbish",
            "photo.jpg": b"\xff\xd8",
            "empty/": b"",
        }
    )
    before = set(tmp_path.parent.rglob("*"))
    found = Read(tmp_path, {"all.zip": archive}, documents="lines")
    assert sorted(found.texts) == ["first text", "second text", "third text"]
    assert "photo.jpg" in found.reading.problems.files[0]
    written = set(tmp_path.parent.rglob("*")) - before
    assert {path.name for path in written} == {"stored-0"}  # nothing was unpacked


def test_encrypted_zip(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.txt": b"secret words"}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    with pytest.raises(Unreadable, match="password"):
        Read(tmp_path, {"all.zip": bytes(content)})


def test_part_of_an_archive_is_damaged(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.txt", "good text")
        archive.writestr("b.txt", "broken text")
    content = out.getvalue().replace(b"broken", b"brXken", 1)  # its checksum is wrong
    found = Read(tmp_path, {"all.zip": content}, documents="lines")
    assert found.texts[0] == "good text"
    assert any("b.txt" in sentence for sentence in found.reading.problems.files)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", b"PK\x03\x04 no archive"),
        ("a.txt.gz", b"no gzip at all"),
        ("a.txt.zst", b"no zstandard at all"),
        ("a.parquet", b"PAR1 no parquet"),
        ("a.json", b"{ no json"),
        ("a.zip", zipped({"photo.jpg": b"x"})),
        ("a.docx", b"PK"),
        ("a", b"words without a suffix"),
        ("a.txt", b""),
        ("a.txt", b" \n\n \n"),
        ("a.jsonl", b""),
        ("a.csv", b""),
        ("a.json", b"[]"),
    ],
)
def test_refusals_are_sentences(name: str, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as refusal:
        Read(tmp_path, {name: content})
    assert refusal.value.sentence.endswith(".")
    assert "Traceback" not in refusal.value.sentence


@pytest.mark.parametrize("how", [".gz", ".zst"])
def test_a_truncated_file_keeps_what_came_before(how: str, tmp_path: Path) -> None:
    lines = "\n".join(f"line {n} {os.urandom(40).hex()}" for n in range(20_000))
    name, content = packed(lines.encode(), "a.txt", how)
    found = Read(tmp_path, {name: content[: len(content) // 2]}, documents="lines")
    assert 1_000 < len(found.rows) < 20_000
    assert found.rows[:2] == [{"text": line} for line in lines.split("\n")[:2]]
    assert len(found.reading.problems.files) == 1


# --- Bombs: what grows like none of our texts is stopped ---------------------------------

BOMB = (b"la " * 400 + b"\n") * 8 * 1024  # 9.8 MB


@pytest.mark.parametrize("how", [".gz", ".zst", ".zip"])
def test_bombs_are_stopped(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "RATIO_APPLIES_FROM", 4 * 1024**2)
    name, content = packed(BOMB, "a.txt", how)
    assert len(content) < len(BOMB) / containers.MAXIMUM_RATIO
    if how == ".zip":
        with pytest.raises(Unreadable, match="200 times"):
            Read(tmp_path, {name: content})
        return
    found = Read(tmp_path, {name: content})
    assert found.reading.rows_bytes < 5 * 1024**2
    assert "200 times" in found.reading.problems.files[0]


@pytest.mark.parametrize("how", [".gz", ".zst", ".zip"])
def test_what_is_packed_well_is_no_bomb(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "RATIO_APPLIES_FROM", 1024)
    text = b"".join(b"row %d of a table with much the same\n" % n for n in range(5_000))
    name, content = packed(text, "a.txt", how)
    assert len(text) / len(content) > 5
    found = Read(tmp_path, {name: content}, documents="lines")
    assert len(found.rows) == 5_000


def test_a_zip_whose_directory_lies_gives_no_more_than_it_says(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.txt": b"word " * 100_000}))
    place = content.index(b"PK\x01\x02") + 24  # the size in the directory
    content[place : place + 4] = (50).to_bytes(4, "little")
    try:
        found = Read(tmp_path, {"a.zip": bytes(content)})
    except Unreadable:
        return
    assert found.reading.figures.characters <= 50


def test_zstandard_frame_that_asks_for_much_memory(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    content = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = content.compress(b"some words " * 100) + content.flush()
    with pytest.raises(Unreadable, match="cannot be unpacked"):
        Read(tmp_path, {"a.txt.zst": frame})


def test_parquet_that_repeats_one_value_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "RATIO_APPLIES_FROM", 2 * 1024**2)
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    value = pyarrow.array(["word " * 10_000])  # 50 kB once, 400 times
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 400), value)
    table = pyarrow.table({"text": column})
    pyarrow.parquet.write_table(table, out, compression="zstd")
    assert len(out.getvalue()) < 10_000
    found = Read(tmp_path, {"a.parquet": out.getvalue()})
    assert 10 < len(found.rows) < 100
    assert "200 times" in found.reading.problems.files[0]


def test_gzip_of_several_members(tmp_path: Path) -> None:
    content = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    assert Read(tmp_path, {"a.txt.gz": content}, documents="lines").texts == [
        "one",
        "two",
    ]
