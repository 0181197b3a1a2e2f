"""Pages of datasets: for whom, with what, and how many questions they ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.webapp.world import World
from webapp.datasets import rows as rows_module
from webapp.datasets import services
from webapp.datasets.forms import LanguageField
from webapp.datasets.models import Dataset, DatasetVersion, Upload
from webapp.datasets.selectors import newest

UYGHUR = "ئۇيغۇر تىلى تۈركىي تىللار ئائىلىسىگە كىرىدۇ."


def made(world: World, folder: Path, name: str, content: str, *tags: str) -> Dataset:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return services.add_files(
        workspace=world.workspace, user=world.eve, paths=[path], languages=list(tags)
    )


@pytest.fixture
def dataset(world: World, tmp_path: Path) -> Dataset:
    lines = [f"{UYGHUR} {n}" for n in range(60)]
    content = "\n".join(json.dumps({"text": text}) for text in [*lines, "{"])
    return made(world, tmp_path, "ug.jsonl", content + "\n{broken", "ug")


READING = ("dataset", "dataset-live", "dataset-rows", "dataset-download")
WRITING = ("dataset-correct", "dataset-describe", "dataset-add-version")
WHO = {"alice": 200, "eve": 200, "vera": 200, "charlie": 404, "anonymous": 302}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", [*READING, *WRITING])
def test_who_may_see(world: World, dataset: Dataset, name: str, who: str) -> None:
    expected = 403 if (who, name in WRITING) == ("vera", True) else WHO[who]
    answer = world.client(who).get(world.url(name, dataset.id))
    assert answer.status_code == expected


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", ["dataset-list", "dataset-languages", "dataset-new"])
def test_who_may_see_the_list(world: World, name: str, who: str) -> None:
    expected = 403 if (who, name) == ("vera", "dataset-new") else WHO[who]
    assert world.client(who).get(world.url(name)).status_code == expected


@pytest.mark.parametrize(
    ("who", "status"),
    [("vera", 403), ("charlie", 404), ("anonymous", 302), ("eve", 302)],
)
@pytest.mark.parametrize(
    "name", ["dataset-delete", "dataset-restore", "dataset-correct", "dataset-describe"]
)
def test_who_may_change(
    world: World, dataset: Dataset, name: str, who: str, status: int
) -> None:
    data = {"kind": "monolingual", "documents": "lines", "of": "monolingual"}
    data |= {"name": "Other name", "language": "Uyghur"}
    before = Dataset.objects.values_list("name", "deleted_at").get(id=dataset.id)
    answer = world.client(who).post(world.url(name, dataset.id), data)
    assert answer.status_code == status
    if who != "eve":
        after = Dataset.objects.values_list("name", "deleted_at").get(id=dataset.id)
        assert after == before and dataset.versions.count() == 1


def test_a_dataset_of_another_workspace_is_not_there(
    world: World, dataset: Dataset
) -> None:
    for name in READING:
        foreign = world.url(name, dataset.id).replace("riverside", "elsewhere")
        assert world.client("charlie").get(foreign).status_code == 404


def page(world: World, name: str, *args: Any, who: str = "eve", **query: Any) -> str:
    answer = world.client(who).get(world.url(name, *args), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_shows_what_is_in_it(world: World, dataset: Dataset) -> None:
    text = page(world, "dataset", dataset.id)
    for expected in (
        'lang="ug" dir="rtl"',
        UYGHUR,
        "Arabic",
        "ug.jsonl",
        "not valid JSON",
        "{broken",
        newest(dataset).sha256,  # type: ignore[union-attr]
    ):
        assert expected in text
    assert "usually written" not in text


def test_a_script_that_does_not_fit_is_said(world: World, tmp_path: Path) -> None:
    dataset = made(world, tmp_path, "kk.txt", "This is no Kazakh.\n" * 5, "kk")
    text = page(world, "dataset", dataset.id)
    assert "usually written in Cyrillic script" in text and "Latin" in text


def test_pairs_of_which_one_language_is_stated_ask_for_the_other(
    world: World, tmp_path: Path
) -> None:
    pairs = "".join(f"This is house {n}.\tБұл {n} үй.\n" for n in range(30))
    dataset = made(world, tmp_path, "pairs.tsv", pairs, "en")
    text = page(world, "dataset", dataset.id)
    assert "State the other language" in text and "usually written" not in text
    dataset.refresh_from_db()
    dataset.languages = ["en", "kk"]
    dataset.save()
    assert "State the other language" not in page(world, "dataset", dataset.id)


def test_copies_are_said_where_they_are_many(world: World, tmp_path: Path) -> None:
    lines = [f"Hadithi ya {n}." for n in range(20)]
    for name, copies in (("few.csv", 2), ("many.csv", 30)):
        content = "\n".join(["text", *lines, *lines[:1] * copies])
        dataset = made(world, tmp_path, name, content, "sw")
        said = "copies of another" in page(world, "dataset", dataset.id)
        assert said == (name == "many.csv")


def test_words_are_counted_only_where_spaces_part_them(
    world: World, tmp_path: Path
) -> None:
    for tag, text, counted in (
        ("km", "ក្មេងប្រុសទៅផ្សារជាមួយម្តាយគាត់ទិញបាយនិងត្រី។\n" * 9, False),
        ("sw", "Mtoto alikwenda sokoni na mama yake.\n" * 9, True),
    ):
        dataset = made(world, tmp_path, f"{tag}.txt", text, tag)
        assert ("Stretches between" in page(world, "dataset", dataset.id)) == counted


def test_a_guessed_encoding_asks_for_a_look(world: World, tmp_path: Path) -> None:
    path = tmp_path / "fr.txt"
    path.write_bytes("L’élève était très près de la forêt.\n".encode("cp1252") * 40)
    dataset = services.add_files(
        workspace=world.workspace, user=world.eve, paths=[path], languages=["fr"]
    )
    text = page(world, "dataset", dataset.id)
    assert "très près" in text and "every letter is right" in text
    control = made(world, tmp_path, "sw.txt", "Habari za asubuhi.\n", "sw")
    assert "every letter is right" not in page(world, "dataset", control.id)


def test_each_side_of_a_pair_has_its_own_language(world: World, tmp_path: Path) -> None:
    pairs = f"English,Uyghur\nThe Uyghur language,{UYGHUR}\n"
    dataset = made(world, tmp_path, "pairs.csv", pairs, "en", "ug")
    text = page(world, "dataset-rows", dataset.id)
    assert 'lang="en" dir="ltr">The Uyghur language' in text
    assert f'lang="ug" dir="rtl">{UYGHUR}' in text


def test_text_is_shown_as_text(world: World, tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>"
    dataset = made(world, tmp_path, "a.txt", nasty, "en")
    for name in ("dataset", "dataset-rows", "dataset-correct"):
        text = page(world, name, dataset.id)
        assert nasty not in text and "&lt;script&gt;alert" in text


def test_while_it_is_read_the_page_asks_again(world: World, dataset: Dataset) -> None:
    version = newest(dataset)
    assert version
    services.correct_version(version=version, options={})
    text = page(world, "dataset", dataset.id)
    assert "dataset-live" not in text and "/live/" in text and "every 2s" in text
    live = world.client("eve").get(world.url("dataset-live", dataset.id))
    assert "HX-Refresh" not in live.headers
    services.read_version(version_id=newest(dataset).id)  # type: ignore[union-attr]
    live = world.client("eve").get(world.url("dataset-live", dataset.id))
    assert live.headers["HX-Refresh"] == "true"


def test_rejected_and_corrected(world: World) -> None:
    new = world.client("eve").post(
        world.url("dataset-new"),
        {
            "files": [SimpleUploadedFile("a.jsonl", b"just words, no JSON\n")],
            "language": "sw",
        },
    )
    dataset = Dataset.objects.get()
    assert new.headers["Location"] == world.url("dataset", dataset.id)
    services.read_version(version_id=dataset.versions.get().id)
    text = page(world, "dataset", dataset.id)
    assert "Nothing could be read" in text and "line 1" in text and "a.jsonl" in text
    assert "kept" in text and "/correct/" in text
    kept = dataset.versions.get().uploads.get()
    answer = world.client("eve").get(
        world.url("dataset-download", dataset.id), {"file": kept.id}
    )
    assert b"".join(answer) == b"just words, no JSON\n"


def test_files_and_uploads_by_the_form(world: World, tmp_path: Path) -> None:
    client = world.client("eve")
    created = client.post(world.url("upload-create"), {"name": "b.txt", "size": 5})
    upload = created.json()["id"]
    body = {"language": "Kiswahili", "uploads": [upload], "licence": "CC0"}
    # Not yet arrived: said, and nothing is made.
    answer = client.post(world.url("dataset-new"), body)
    assert answer.status_code == 422 and "arrived" in answer.content.decode()
    assert upload in answer.content.decode()  # it is still in the form
    client.patch(world.url("upload", upload), b"words", headers={"Upload-Offset": "0"})
    whole = SimpleUploadedFile("c.txt", b"more words")
    answer = client.post(world.url("dataset-new"), {**body, "files": [whole]})
    assert answer.status_code == 302
    dataset = Dataset.objects.get()
    assert (dataset.name, dataset.languages) == ("b.txt", ["sw"])
    assert dataset.licence == "CC0"
    assert dataset.versions.get().uploads.count() == 2


@pytest.mark.parametrize("tag", ["en", "sw", "ug", "ha", "to", "as", "ga", "zh-Hant"])
def test_a_tag_is_taken_at_its_word(tag: str) -> None:
    """Other languages are called En, Ha, To, As and Ga."""
    assert LanguageField().clean(tag) == tag


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"language": ""}, "required"),
        ({"language": "Blorbish"}, "No language is called Blorbish"),
        ({"files": []}, "at least one file"),
        ({"files": [], "uploads": ["not-an-id"]}, "at least one file"),
        ({"files": [("a.exe", b"x")]}, "cannot be read"),
        ({"files": [("a.txt", b"")]}, "empty"),
        ({"name": "x" * 300}, "200"),
    ],
)
def test_bad_input_is_answered_at_its_field(
    world: World, change: dict[str, Any], word: str
) -> None:
    body = {"language": "sw", "files": [("a.txt", b"words")], **change}
    body["files"] = [SimpleUploadedFile(*file) for file in body["files"]]
    answer = world.client("eve").post(world.url("dataset-new"), body)
    assert answer.status_code == 422 and word in answer.content.decode()
    assert not Dataset.objects.exists()


def test_an_upload_of_another_workspace_is_not_taken(world: World) -> None:
    foreign = Upload.objects.create(
        workspace=world.elsewhere, name="a.txt", size=1, state="received"
    )
    answer = world.client("eve").post(
        world.url("dataset-new"), {"language": "sw", "uploads": [foreign.id]}
    )
    assert answer.status_code == 422 and not Dataset.objects.exists()


def test_a_second_language_is_asked_for_where_there_can_be_one(
    world: World, dataset: Dataset
) -> None:
    client = world.client("eve")

    def asked() -> bool:
        answer = client.get(world.url("dataset-describe", dataset.id))
        return 'name="second_language"' in answer.content.decode()

    assert dataset.kind == "monolingual" and not asked()
    Dataset.objects.update(kind="parallel")
    assert asked()
    Dataset.objects.update(kind="monolingual", languages=["ug", "en"])
    assert asked()  # what was said can be changed
    assert 'name="second_language"' in page(world, "dataset-new", who="eve")


def test_correct_describe_add(world: World, dataset: Dataset) -> None:
    client = world.client("eve")
    bad = client.post(
        world.url("dataset-correct", dataset.id), {"kind": "poems", "of": "monolingual"}
    )
    assert bad.status_code == 422 and dataset.versions.count() == 1
    part = client.get(
        world.url("dataset-correct", dataset.id),
        {"kind": "parallel"},
        headers={"HX-Request": "true"},
    ).content.decode()
    assert "<html" not in part and 'value="parallel"' in part
    about = {"name": "Stories", "language": "kk", "second_language": "Swahil"}
    assert (
        client.post(world.url("dataset-describe", dataset.id), about).status_code == 422
    )
    about["second_language"] = "Swahili (sw)"
    client.post(world.url("dataset-describe", dataset.id), about)
    dataset.refresh_from_db()
    assert (dataset.name, dataset.languages) == ("Stories", ["kk", "sw"])
    file = SimpleUploadedFile("more.jsonl", b'{"text": "more"}')
    client.post(
        world.url("dataset-add-version", dataset.id), {"files": [file], "keep": "on"}
    )
    assert dataset.versions.count() == 2
    assert newest(dataset).uploads.count() == 2  # type: ignore[union-attr]


def test_delete_with_undo(world: World, dataset: Dataset) -> None:
    client = world.client("eve")
    answer = client.post(world.url("dataset-delete", dataset.id), follow=True)
    restore = world.url("dataset-restore", dataset.id)
    assert restore in answer.content.decode()
    assert client.get(world.url("dataset", dataset.id)).status_code == 404
    assert dataset.name not in client.get(world.url("dataset-list")).content.decode()
    client.post(restore)
    assert client.get(world.url("dataset", dataset.id)).status_code == 200


def test_download(world: World, dataset: Dataset) -> None:
    answer = world.client("vera").get(world.url("dataset-download", dataset.id))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    body = b"".join(answer)
    assert len(body.splitlines()) == 61
    assert answer.headers["Content-Length"] == str(len(body))
    other = world.client("vera").get(
        world.url("dataset-download", dataset.id), {"file": "../../db.sqlite3"}
    )
    assert other.status_code == 404


# --- Rows ------------------------------------------------------------------------------


def test_rows_are_paged_by_the_index(world: World, tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"text": f"number {n}."}) for n in range(1, 1001))
    dataset = made(world, tmp_path, "n.jsonl", lines, "en")
    for first in (1, 20, 256, 257, 258, 700, 981):
        text = page(world, "dataset-rows", dataset.id, **{"from": first})
        shown = range(first, first + rows_module.PAGE_ROWS)
        assert all(f"number {n}." in text for n in shown)
        assert f"number {first - 1}." not in text
        assert f"number {shown.stop}." not in text
    assert "no rows" in page(world, "dataset-rows", dataset.id, **{"from": 10**9})
    page(world, "dataset-rows", dataset.id, **{"from": "x", "version": "1"})


def test_search_finds_all_and_goes_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f'Näita "{n}" rida' if n % 10 == 0 else f"muu {n}" for n in range(1, 501)]
    lines = "\n".join(json.dumps({"text": text}) for text in texts)
    dataset = made(world, tmp_path, "n.jsonl", lines, "et")
    version = newest(dataset)
    assert version

    def all_found(query: str) -> list[int]:
        found, first = [], 1
        while first:
            some = rows_module.rows_from(version, first, query, ["et"])
            found += [row.number for row in some.rows]
            first = some.following or 0
        return found

    every_tenth = list(range(10, 501, 10))
    decomposed = "na\N{COMBINING DIAERESIS}ita"
    for query in ("NÄITA", decomposed, '"', "näita"):
        assert all_found(query) == every_tenth
    assert all_found("absent") == []
    # A search that runs out of time is continued and misses nothing.
    clock = iter(range(10**6))
    monkeypatch.setattr(rows_module.time, "monotonic", lambda: next(clock) / 50)
    assert all_found("näita") == every_tenth
    text = page(world, "dataset-rows", dataset.id, q="absent")
    assert "Search on" in text and "Not found here" in text


def test_rows_by_htmx_are_a_fragment(world: World, dataset: Dataset) -> None:
    answer = world.client("vera").get(
        world.url("dataset-rows", dataset.id), headers={"HX-Request": "true"}
    )
    assert "<html" not in answer.content.decode() and UYGHUR in answer.content.decode()


# --- The list --------------------------------------------------------------------------


def test_the_list_is_searched_filtered_sorted(world: World, tmp_path: Path) -> None:
    made(world, tmp_path, "stories.txt", "words of a story " * 50, "sw")
    made(world, tmp_path, "pairs.tsv", "English\tSwahili\none\tmoja\n", "en", "sw")
    made(world, tmp_path, "ug.txt", UYGHUR, "ug")
    names = {"stories.txt", "pairs.tsv", "ug.txt"}

    def shown(**query: str) -> set[str]:
        text = page(world, "dataset-list", **query)
        return {name for name in names if f">{name}<" in text}

    assert shown() == names
    assert shown(q="STOR") == {"stories.txt"}
    assert shown(kind="parallel") == {"pairs.tsv"}
    assert shown(language="sw") == {"stories.txt", "pairs.tsv"}
    assert shown(language="u") == names  # no such choice: left out
    assert shown(q="nothing") == set()
    for sort in ("newest", "oldest", "name", "largest", "rubbish"):
        assert shown(sort=sort) == names
    text = page(world, "dataset-list", sort="largest")
    assert text.index(">stories.txt<") < text.index(">ug.txt<")


def test_an_empty_list_teaches(world: World) -> None:
    text = page(world, "dataset-list")
    assert "No dataset yet" in text and ".parquet" not in text.split("<main")[0]
    assert "How much is enough" in text
    assert "New dataset" not in page(world, "dataset-list", who="vera")


def queries(world: World, name: str, *args: Any) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        page(world, name, *args)
    return len(captured)


def test_the_number_of_queries_stays(
    world: World, dataset: Dataset, tmp_path: Path
) -> None:
    pages = [("dataset-list",), ("dataset", dataset.id), ("dataset-rows", dataset.id)]
    page(world, "dataset-list")  # signs in
    before = [queries(world, *which) for which in pages]
    version = newest(dataset)
    for n in range(5):
        made(world, tmp_path, f"{n}.txt", "some words", "sw")
        assert version
        corrected = services.correct_version(version=version, options={})
        services.read_version(version_id=corrected.id)
    assert DatasetVersion.objects.count() == 11
    assert [queries(world, *which) for which in pages] == before
    assert max(before) <= 16
