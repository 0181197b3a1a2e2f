"""Encodings, and lines that are broken: what is dropped, where, and what is kept."""

from __future__ import annotations

import codecs
import io
import json
import tracemalloc
from pathlib import Path

import pytest

from tests.webapp.datasets.material import Read
from webapp.datasets.reading import encoding as encodings
from webapp.datasets.reading.containers import Source
from webapp.datasets.reading.problems import Unreadable
from webapp.datasets.reading.reader import Options, guess, read

KAZAKH = [
    "Қазақстанның астанасы Астана қаласы болып табылады, онда көп адам тұрады.",
    "Біздің ауылда мектеп бар, балалар онда қазақша оқиды және жазады.",
] * 20
RUSSIAN = [
    "Моя деревня стоит на берегу большой реки, и летом мы там купаемся.",
    "Бабушка рассказывала нам сказки, когда за окном шёл снег.",
] * 20
ARABIC = [
    "كان يا ما كان في قديم الزمان ملك يعيش في قصر كبير على شاطئ البحر.",
    "ذهب الأولاد إلى المدرسة في الصباح وعادوا إلى البيت بعد الظهر.",
] * 20
HINDI = ["एक गाँव में एक बूढ़ा किसान रहता था।", "उसके चार बेटे थे।"] * 20
CHINESE = ["从前有一座山", "山里有一座庙", "庙里有一个老和尚"] * 20
FRENCH = ["Le garçon a mangé une crêpe près de l'hôtel, où était sa mère."] * 40


def encoded(texts: list[str], name: str, mark: bytes = b"") -> bytes:
    return mark + "\n".join(texts).encode(name)


@pytest.mark.parametrize(
    ("texts", "name", "mark"),
    [
        (KAZAKH, "utf-8", b""),
        (KAZAKH, "utf-8", codecs.BOM_UTF8),
        *((t, "utf-16-le", codecs.BOM_UTF16_LE) for t in (KAZAKH, FRENCH, CHINESE)),
        *((t, "utf-16-be", codecs.BOM_UTF16_BE) for t in (KAZAKH, FRENCH, CHINESE)),
        *((t, "utf-16-le", b"") for t in (KAZAKH, ARABIC, HINDI, FRENCH, CHINESE)),
        *((t, "utf-16-be", b"") for t in (KAZAKH, ARABIC, HINDI, FRENCH, CHINESE)),
        (KAZAKH, "utf-32-le", codecs.BOM_UTF32_LE),
        (RUSSIAN, "windows-1251", b""),
        (RUSSIAN, "koi8-r", b""),
        (ARABIC, "windows-1256", b""),
        (CHINESE, "gb18030", b""),
    ],
)
def test_encodings_are_detected(
    texts: list[str], name: str, mark: bytes, tmp_path: Path
) -> None:
    content = encoded(texts, name, mark)
    assert Read(tmp_path, {"a.txt": content}, documents="lines").texts == texts
    records = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    table = encoded(records, name, mark)
    assert Read(tmp_path, {"a.jsonl": table}).texts == texts


LITHUANIAN = ["Šiandien gražus oras, ir ąžuolai šlama prie ežero."] * 20
POLISH = ["Zażółć gęślą jaźń, mówił chłopiec; świeci słońce."] * 20


@pytest.mark.parametrize(
    ("texts", "page", "languages"),
    [
        (FRENCH, "cp1252", ("fr",)),
        (FRENCH, "cp1252", ("yo",)),  # nothing is known of its page: the usual one
        (FRENCH, "cp1252", ()),
        (POLISH, "cp1250", ("pl",)),
        (POLISH, "cp1250", ("en", "pl")),
        (LITHUANIAN, "cp1257", ("lt",)),
    ],
)
def test_the_language_says_which_latin_code_page(
    texts: list[str], page: str, languages: tuple[str, ...], tmp_path: Path
) -> None:
    """Statistics alone read French as if it were Polish: mčre, oů, ŕ."""
    path = tmp_path / "a.txt"
    path.write_bytes(encoded(texts, page))
    sources = [Source("a.txt", path)]
    found = guess(sources, languages=languages)
    assert found.encoding == page
    out = io.BytesIO()
    kind, columns = found.options.kind, found.options.columns
    read(sources, Options(kind, columns, "lines", languages=languages), out)
    rows = [json.loads(line)["text"] for line in out.getvalue().splitlines()]
    assert rows == texts


def test_letters_that_are_not_latin_keep_their_own_page() -> None:
    found = encodings.detect(encoded(RUSSIAN, "koi8-r"), ("ru",))
    assert encoded(RUSSIAN, "koi8-r").decode(found) == "\n".join(RUSSIAN)
    assert encodings.detect("\n".join(FRENCH).encode(), ("fr",)) == "utf-8"  # control


@pytest.mark.parametrize(
    ("beginning", "word"),
    [
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "picture"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PK\x03\x04", "office"),
        (b"\x1f\x8b\x08\x00", "packed"),
        (b"\x00\x01\x02", "does not hold text"),
    ],
)
def test_what_is_no_text_is_not_read_under_any_name(
    beginning: bytes, word: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    noise = bytes((7 * n * n + n) % 251 for n in range(9_000))
    path.write_bytes(beginning + noise)
    for name in ("story.txt", "story.jsonl", "story.csv"):
        for chosen in ("", "cp1252"):
            with pytest.raises(Unreadable) as refusal:
                guess([Source(name, path)], chosen)
            assert word in refusal.value.sentence and name in refusal.value.sentence


def test_a_picture_beside_a_text_costs_only_itself(tmp_path: Path) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
    files = {"a.txt": "\n".join(KAZAKH).encode(), "cover.txt": picture}
    found = Read(tmp_path, files, documents="lines")
    assert found.texts == KAZAKH
    assert ["cover.txt is a picture" in s for s in found.reading.problems.files] == [
        True
    ]


def test_a_person_knows_better_than_detection(tmp_path: Path) -> None:
    content = encoded(FRENCH[:1], "windows-1252")
    found = Read(tmp_path, {"a.txt": content}, encoding="windows-1252")
    assert found.texts == FRENCH[:1]
    marked = codecs.BOM_UTF8 + b'{"text": "one"}'
    assert Read(tmp_path, {"a.jsonl": marked}, encoding="utf-8").texts == ["one"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines(end: str, tmp_path: Path) -> None:
    content = end.join(KAZAKH[:5]).encode()
    found = Read(tmp_path, {"a.txt": content}, documents="lines")
    assert found.texts == KAZAKH[:5]


def test_line_separators_of_unicode_do_not_cut(tmp_path: Path) -> None:
    text = "one\u2028two\u0085three\x0bfour"
    content = json.dumps({"text": text}, ensure_ascii=False).encode()
    found = Read(tmp_path, {"a.jsonl": content})
    assert found.texts == [text] and found.written.count(b"\n") == 1


def test_some_damage_does_not_make_it_another_encoding(tmp_path: Path) -> None:
    lines = [text.encode() for text in KAZAKH]
    lines[3] = lines[3][:20] + b"\xff\xfe" + lines[3][20:]
    lines[7] = lines[7] + b"\0"
    found = Read(tmp_path, {"a.txt": b"\n".join(lines)}, documents="lines")
    assert found.places == [
        (4, "not readable as UTF-8"),
        (8, "holds a NUL character"),
    ]
    assert found.texts == KAZAKH[:3] + KAZAKH[4:7] + KAZAKH[8:]


def test_utf_16_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    good = "\n".join(KAZAKH * 400).encode("utf-16-le")
    broken = codecs.BOM_UTF16_LE + good + b"\x00\xd8\x20\x00" + good[:100]
    found = Read(tmp_path, {"a.txt": broken}, documents="lines")
    assert len(found.rows) > 1_000
    assert "UTF-16" in found.reading.problems.files[0]


# --- Broken lines ----------------------------------------------------------------------


def test_broken_lines_of_json_cost_only_themselves(tmp_path: Path) -> None:
    deep = '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}"
    lines = [
        '{"text": "first"}',
        '{"text": "cut o',
        "[1, 2]",
        "",
        '{"other": "column"}',
        '{"text": 17}',
        '{"text": "  "}',
        '{"text": "half \\ud800 of a character"}',
        deep,
        '{"text": {"no": "text"}}',
        '{"text": "last"}',
    ]
    found = Read(tmp_path, {"a.jsonl": "\n".join(lines).encode()})
    assert found.texts == ["first", "17", "last"]
    assert found.places == [
        (2, "not valid JSON"),
        (3, "not a JSON object"),
        (5, "has no column text"),
        (7, "text is empty"),
        (8, "holds half of a character"),
        (9, "not valid JSON"),
        (10, "text is not text"),
    ]


def test_a_json_list_that_breaks_in_the_middle(tmp_path: Path) -> None:
    content = b'[\n{"text": "one"},\n{"text": "two"},\n{"text" "three"}\n]'
    found = Read(tmp_path, {"a.json": content})
    assert found.texts == ["one", "two"]
    assert "line 4" in found.reading.problems.files[0]


@pytest.mark.parametrize(
    "mark", ['"never closed, 5', '5" of, rain', 'he said "yes, no']
)
def test_a_mark_never_closed_costs_at_most_its_line(mark: str, tmp_path: Path) -> None:
    good = [f"{n},text number {n}" for n in range(1, 500)]
    lines = ["id,text", *good[:10], mark, *good[10:]]
    found = Read(tmp_path, {"a.csv": "\n".join(lines).encode()})
    expected = [f"text number {n}" for n in range(1, 500)]
    kept = [text for text in found.texts if text in set(expected)]
    assert kept == expected
    if mark.startswith('"'):
        assert found.places == [(12, "a quotation mark is not closed")]


def test_two_marks_never_closed_do_not_swallow_what_is_between(tmp_path: Path) -> None:
    lines = ["id,text", '1,"one', "2,two", "3,three", '4,"four', "5,five"]
    found = Read(tmp_path, {"a.csv": "\n".join(lines).encode()})
    # From the first mark to the second is one cell to a plain reader of CSV; what
    # follows the second mark shows that it is not.
    assert {"two", "three", "five"} <= set(found.texts)


def test_rows_of_another_width(tmp_path: Path) -> None:
    content = b"id,text\n1,one\n2,two,more\n3\n4,four\n"
    found = Read(tmp_path, {"a.csv": content})
    assert found.texts == ["one", "four"]
    assert found.places == [
        (3, "has 3 columns instead of 2"),
        (4, "has 1 column instead of 2"),
    ]


def test_a_very_long_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "LONGEST_LINE", 100_000)
    lines = ["short one", "x" * 350_000, "short two"]
    found = Read(tmp_path, {"a.txt": "\n".join(lines).encode()}, documents="lines")
    assert found.texts == ["short one", "short two"]
    assert found.places == [(2, "a line of more than 16 MB")]


def test_only_the_first_places_are_kept_but_all_are_counted(tmp_path: Path) -> None:
    lines = ['{"text": "good"}', *(["{"] * 200)]
    found = Read(tmp_path, {"a.jsonl": "\n".join(lines).encode()})
    assert found.reading.problems.counts == {"not valid JSON": 200}
    assert len(found.reading.problems.first) == 50


def test_documents_by_blank_lines_and_passages(tmp_path: Path) -> None:
    story = "A sentence of a story that goes on and on. " * 12
    content = f"{story}\n{story}\n\n{story}\n\n\n{story}\n".encode()
    found = Read(tmp_path, {"a.txt": content})
    assert found.guess.options.documents == "lines"  # each line is a paragraph
    found = Read(tmp_path, {"a.txt": content}, documents="blank_lines")
    assert [text.count("\n") for text in found.texts] == [1, 0, 0]
    short = "\n".join(["One short line."] * 1_000).encode()
    found = Read(tmp_path, {"a.txt": short})
    assert found.guess.options.documents == "passages"
    assert all(1_900 < len(text) < 2_200 for text in found.texts[:-1])


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path) -> None:
    """30 MB; the peak is counters, hashes and a batch."""
    path = tmp_path / "big.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for n in range(30_000):
            file.write(json.dumps({"text": f"{n} " + "neno " * 200}) + "\n")
    assert path.stat().st_size > 30 * 1000**2
    tracemalloc.start()
    with (tmp_path / "out").open("wb") as out:
        reading = read(
            [Source("big.jsonl", path)], Options("monolingual", {"text": "text"}), out
        )
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reading.figures.documents == 30_000
    assert peak < 16 * 1000**2, f"{peak:,} bytes"


def test_the_index_points_at_rows(tmp_path: Path) -> None:
    lines = "\n".join(f"text number {n}" for n in range(1_000)).encode()
    found = Read(tmp_path, {"a.txt": lines}, documents="lines")
    stream = io.BytesIO(found.written)
    for place, offset in enumerate(found.reading.index):
        stream.seek(offset)
        assert json.loads(stream.readline())["text"] == f"text number {place * 256}"
