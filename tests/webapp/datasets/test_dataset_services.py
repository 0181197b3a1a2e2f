"""Datasets and versions: made, read, corrected, taken over, put away."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from tests.webapp.world import World
from webapp.core import files
from webapp.core.errors import Refusal
from webapp.datasets import services, versions
from webapp.datasets.models import Dataset, DatasetVersion, Upload
from webapp.datasets.selectors import newest, newest_ready, script_caution

State = DatasetVersion.State
PAIRS = b"English,Swahili\nGood morning,Habari ya asubuhi\nThank you,Asante\n"


def add(world: World, folder: Path, name: str, content: bytes, **more: str) -> Dataset:
    path = folder / name
    path.write_bytes(content)
    return services.add_files(
        workspace=world.workspace,
        user=world.eve,
        paths=[path],
        languages=["en", "sw"],
        **more,
    )


def rows_of(version: DatasetVersion) -> list[dict[str, str]]:
    with files.as_local(version.rows_file) as path:
        return [json.loads(line) for line in path.read_text().splitlines()]


def test_files_become_a_dataset(world: World, tmp_path: Path) -> None:
    dataset = add(world, tmp_path, "pairs.csv", PAIRS)
    version = newest_ready(dataset)
    assert version and (dataset.kind, version.documents) == ("parallel", 2)
    assert rows_of(version)[1] == {"source": "Thank you", "target": "Asante"}
    assert version.statistics["duplicates"] == 0
    assert (tmp_path / "pairs.csv").exists()  # copied, not moved
    assert not list(versions.receiving_folder().iterdir())


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.txt", b"", "empty"),
        ("a.docx", b"PK words", "word processor"),
        ("a.pdf", b"%PDF-1.7", "PDF"),
        ("a.xyz", b"words", ".jsonl"),
        ("a.jsonl", b"{\n", "line 1"),
        ("a.parquet", b"rubbish", "Parquet"),
    ],
)
def test_files_that_cannot_be_read_are_refused_in_a_sentence(
    world: World, tmp_path: Path, name: str, content: bytes, word: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        add(world, tmp_path, name, content)
    assert word in refusal.value.sentence and refusal.value.sentence.endswith(".")
    if dataset := Dataset.objects.first():  # what was read in vain is kept, with why
        version = newest(dataset)
        assert version and version.state == State.REJECTED
        assert version.reason == refusal.value.sentence
        upload = version.uploads.get()
        with files.as_local(upload.file) as path:
            assert path.read_bytes() == content


def test_a_path_that_is_not_there(world: World, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no file"):
        services.add_files(
            workspace=world.workspace,
            user=None,
            paths=[tmp_path / "absent.txt"],
            languages=["sw"],
        )


def test_a_correction_is_a_new_version_and_leaves_the_old(
    world: World, tmp_path: Path
) -> None:
    dataset = add(world, tmp_path, "pairs.csv", PAIRS)
    first = newest_ready(dataset)
    assert first
    before = rows_of(first), first.sha256
    corrected = services.correct_version(
        version=first,
        options={"kind": "monolingual", "columns": {"text": "Swahili"}},
    )
    assert newest_ready(dataset) == first  # until the new one is read
    services.read_version(version_id=corrected.id)
    corrected.refresh_from_db()
    assert (corrected.number, corrected.state) == (2, State.READY)
    assert [row["text"] for row in rows_of(corrected)] == [
        "Habari ya asubuhi",
        "Asante",
    ]
    first.refresh_from_db()
    assert (rows_of(first), first.sha256) == before
    dataset.refresh_from_db()
    assert dataset.kind == "monolingual"


def test_another_kind_without_columns_finds_its_own(
    world: World, tmp_path: Path
) -> None:
    dataset = add(world, tmp_path, "pairs.csv", PAIRS)
    version = newest_ready(dataset)
    assert version
    corrected = services.correct_version(
        version=version, options={"kind": "instructions"}
    )
    services.read_version(version_id=corrected.id)
    corrected.refresh_from_db()
    assert corrected.options["columns"] == {"question": "English", "answer": "Swahili"}


def test_a_version_that_is_ready_is_not_read_again(
    world: World, tmp_path: Path
) -> None:
    version = newest_ready(add(world, tmp_path, "pairs.csv", PAIRS))
    assert version
    with files.as_local(version.uploads.get().file) as path:
        path.write_bytes(b"English,Swahili\nchanged,changed\n")
    services.read_version(version_id=version.id)
    assert rows_of(version)[0]["source"] == "Good morning"


def upload(world: World, name: str = "a.txt", content: bytes = b"words") -> Upload:
    made = Upload.objects.create(
        workspace=world.workspace, name=name, size=len(content)
    )
    path = versions.receiving_folder() / f"{made.id}.part"
    path.write_bytes(content)
    services.finish_upload(upload=made, path=path, sha256="0" * 64)
    return made


def waiting(world: World, content: bytes = b"words") -> DatasetVersion:
    dataset = services.create_dataset(
        workspace=world.workspace,
        name="x",
        languages=["sw"],
        uploads=[upload(world, content=content)],
    )
    return dataset.versions.get()


def test_each_version_is_claimed_once(world: World) -> None:
    versions_made = {waiting(world).id for _ in range(3)}
    claimed = [services.claim_version() for _ in range(4)]
    assert claimed[3] is None
    assert {version.id for version in claimed[:3] if version} == versions_made


def test_a_reader_that_fell_silent_is_replaced_and_then_given_up(world: World) -> None:
    version = waiting(world)
    silent = timezone.now() - timedelta(seconds=versions.SILENT_SECONDS + 1)
    for _ in range(versions.MOST_READERS):
        assert services.claim_version() == version
        assert services.claim_version() is None  # while it speaks nobody takes it
        DatasetVersion.objects.filter(id=version.id).update(seen_at=silent)
    assert services.claim_version() is None
    version.refresh_from_db()
    assert version.state == State.REJECTED and "3 times" in version.reason


def test_a_reader_that_comes_back_late_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = waiting(world)
    services.claim_version()
    real = versions.read

    def slow(*arguments: object, **named: object) -> object:
        DatasetVersion.objects.filter(id=version.id).update(reader=2)  # taken over
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(versions, "read", slow)
    services.read_version(version_id=version.id)
    version.refresh_from_db()
    assert (version.state, version.rows_file) == (State.READING, "")
    monkeypatch.setattr(versions, "read", real)
    services.read_version(version_id=version.id)  # the one that has it now
    version.refresh_from_db()
    assert version.state == State.READY


def test_a_reader_that_ends_after_the_next_overwrites_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = waiting(world)
    services.claim_version()
    real = versions.read
    kept: list[tuple[Path, int]] = []

    def overtaken(*arguments: object, **named: object) -> object:
        monkeypatch.setattr(versions, "read", real)
        DatasetVersion.objects.filter(id=version.id).update(reader=2)
        services.read_version(version_id=version.id)
        version.refresh_from_db()
        rows = files.local_path(version.rows_file)
        assert rows
        kept.append((rows, rows.stat().st_ino))
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(versions, "read", overtaken)
    services.read_version(version_id=version.id)
    (rows, inode), stored = kept[0], version.rows_file
    version.refresh_from_db()
    assert (version.state, version.rows_file) == (State.READY, stored)
    assert rows.stat().st_ino == inode


def test_whatever_goes_wrong_the_person_gets_an_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = waiting(world)

    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(versions, "read", broken)
    services.read_version(version_id=version.id)
    version.refresh_from_db()
    assert version.state == State.REJECTED and "kept" in version.reason
    assert not list(versions.receiving_folder().iterdir())


def test_a_file_belongs_to_one_dataset_of_its_workspace(world: World) -> None:
    used = upload(world)
    seen_free = Upload.objects.get(id=used.id)
    services.create_dataset(
        workspace=world.workspace, name="x", languages=["sw"], uploads=[used]
    )
    used.refresh_from_db()
    foreign = upload(world)
    for workspace, row in (
        (world.workspace, used),
        (world.workspace, seen_free),
        (world.elsewhere, foreign),
    ):
        with pytest.raises(Refusal):
            services.create_dataset(
                workspace=workspace, name="y", languages=["sw"], uploads=[row]
            )
    assert not Dataset.objects.filter(name="y").exists()
    unfinished = Upload.objects.create(workspace=world.workspace, name="b", size=5)
    for rows in ([], [unfinished]):
        with pytest.raises(Refusal):
            services.create_dataset(
                workspace=world.workspace, name="y", languages=["sw"], uploads=rows
            )


def test_more_files_make_a_version_with_the_old_ones_or_without(world: World) -> None:
    first = waiting(world, b"old words")
    for keep, expected in ((None, ["new"]), (first, ["old words", "new"])):
        version = services.add_version(
            dataset=first.dataset, uploads=[upload(world, content=b"new")], keep=keep
        )
        services.read_version(version_id=version.id)
        version.refresh_from_db()
        assert sorted(row["text"] for row in rows_of(version)) == sorted(expected)


def test_delete_and_restore(world: World) -> None:
    dataset = waiting(world).dataset
    services.delete_dataset(dataset=dataset)
    dataset.refresh_from_db()
    assert dataset.deleted_at
    services.restore_dataset(dataset=dataset)
    dataset.refresh_from_db()
    assert dataset.deleted_at is None


@pytest.mark.parametrize(
    ("script", "share", "tags", "cautioned"),
    [
        ("Latin", 0.5, ["kk"], True),
        ("Latin", 0.1, ["kk"], False),
        ("Latin", 0.6, ["kk-Latn"], False),
        ("Latin", 0.5, ["en", "kk"], False),
        ("Han", 0.9, ["ja"], False),
        ("Han", 0.9, ["zh"], False),
        ("Cyrillic", 0.9, ["ug"], True),
        ("Latin", 0.9, ["qaa-x-own"], False),  # nobody knows how that is written
        ("Latin", 0.9, [], False),
    ],
)
def test_a_script_that_does_not_fit_is_named(
    script: str, share: float, tags: list[str], cautioned: bool
) -> None:
    statistics = {"scripts": [{"script": script, "share": share}]}
    caution = script_caution(statistics, tags)
    assert bool(caution) == cautioned
    if caution:
        assert (caution.script, caution.share) == (script, share)
