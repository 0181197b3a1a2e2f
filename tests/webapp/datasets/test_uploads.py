"""Files sent in pieces: offsets, two writers, resuming, strangers, room."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import tracemalloc
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from tests.webapp.world import World
from webapp.core import files
from webapp.datasets import uploads
from webapp.datasets.models import Upload

CONTENT = os.urandom(300_000)


def create(world: World, size: int = len(CONTENT), name: str = "a.txt") -> Any:
    return world.client("eve").post(
        world.url("upload-create"), {"name": name, "size": size}
    )


def patch(world: World, id: str, offset: int, body: bytes, **headers: str) -> Any:
    return world.client("eve").patch(
        world.url("upload", id),
        body,
        content_type="application/octet-stream",
        headers={"Upload-Offset": str(offset), **headers},
    )


def test_a_file_arrives_in_pieces(world: World) -> None:
    answer = create(world)
    assert answer.status_code == 201
    id = answer.json()["id"]
    for offset in range(0, len(CONTENT), 100_000):
        answer = patch(world, id, offset, CONTENT[offset : offset + 100_000])
        assert answer.status_code == 200
        assert answer.json()["received"] == offset + 100_000
    assert answer.json()["state"] == "received"
    upload = Upload.objects.get(id=id)
    assert upload.sha256 == hashlib.sha256(CONTENT).hexdigest()
    with files.as_local(upload.file) as path:
        assert path.read_bytes() == CONTENT
    assert list(uploads.receiving_folder().iterdir()) == []


def test_it_goes_on_where_it_stopped(world: World) -> None:
    id = create(world).json()["id"]
    patch(world, id, 0, CONTENT[:1000])
    status = world.client("eve").get(world.url("upload", id)).json()
    assert status["received"] == 1000
    # Bytes beyond what was acknowledged (a crash before the row was written) are cut.
    with uploads.part_path(Upload.objects.get(id=id)).open("ab") as file:
        file.write(b"rubbish")
    answer = patch(world, id, 1000, CONTENT[1000:])
    assert answer.json()["state"] == "received"
    upload = Upload.objects.get(id=id)
    assert upload.sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("offset", [0, 999, 1001, 200_000])
def test_a_wrong_offset_is_told_the_right_one(world: World, offset: int) -> None:
    id = create(world).json()["id"]
    patch(world, id, 0, CONTENT[:1000])
    answer = patch(world, id, offset, b"xxx")
    assert answer.status_code == 409
    assert answer.headers["Upload-Offset"] == "1000"
    assert patch(world, id, 1000, CONTENT[1000:]).json()["state"] == "received"


def test_only_one_writes_at_a_time(world: World) -> None:
    id = create(world).json()["id"]
    patch(world, id, 0, CONTENT[:1000])
    upload = Upload.objects.get(id=id)
    with uploads.part_path(upload).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert patch(world, id, 1000, CONTENT[1000:]).status_code == 409
    assert patch(world, id, 1000, CONTENT[1000:]).status_code == 200


def test_the_row_is_raised_only_from_what_it_was(world: World) -> None:
    """Another host's writer, which our lock does not reach, was faster."""
    upload = Upload.objects.get(id=create(world).json()["id"])

    class Faster(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            Upload.objects.filter(id=upload.id).update(received=5)
            return super().read(size)

    with pytest.raises(uploads.WrongOffset) as wrong:
        uploads.receive(upload=upload, offset=0, stream=Faster(CONTENT[:1000]))
    assert wrong.value.received == 5
    assert Upload.objects.get(id=upload.id).received == 5


def test_what_came_before_the_connection_broke_is_kept(world: World) -> None:
    upload = Upload.objects.get(id=create(world, size=10**6).json()["id"])

    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            block = super().read(size)
            if not block:
                raise OSError("connection reset")
            return block

    uploads.receive(upload=upload, offset=0, stream=Breaks(CONTENT))
    assert Upload.objects.get(id=upload.id).received == len(CONTENT)


def test_bytes_that_left_the_disk_are_asked_for_again(world: World) -> None:
    id = create(world).json()["id"]
    patch(world, id, 0, CONTENT[:1000])
    uploads.part_path(Upload.objects.get(id=id)).write_bytes(CONTENT[:400])
    answer = patch(world, id, 1000, CONTENT[1000:])
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (409, "400")
    assert patch(world, id, 400, CONTENT[400:]).json()["state"] == "received"


def test_a_piece_damaged_on_its_way_is_not_kept(world: World) -> None:
    id = create(world).json()["id"]
    digest = hashlib.sha256(CONTENT[:1000]).hexdigest()
    stated = {"Upload-Checksum": f"sha256 {digest}"}
    damaged = b"x" + CONTENT[1:1000]
    assert patch(world, id, 0, damaged, **stated).status_code == 460
    assert Upload.objects.get(id=id).received == 0
    assert patch(world, id, 0, CONTENT[:1000], **stated).status_code == 200


def test_more_than_was_announced_is_refused(world: World) -> None:
    id = create(world, size=1000).json()["id"]
    assert patch(world, id, 0, CONTENT[:1001]).status_code == 413
    assert patch(world, id, 0, CONTENT[:1000]).json()["state"] == "received"
    # Once complete it takes nothing more.
    assert patch(world, id, 1000, b"").status_code == 409


@pytest.mark.parametrize("offset", ["", "x", "1.5"])
def test_a_piece_must_say_where_it_begins(world: World, offset: str) -> None:
    id = create(world).json()["id"]
    answer = world.client("eve").patch(
        world.url("upload", id), b"x", headers={"Upload-Offset": offset}
    )
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("name", "size", "word"),
    [
        ("a.docx", 10, ".txt"),
        ("", 10, ".jsonl"),
        ("a.txt", 0, "empty"),
        ("a.txt", -5, "empty"),
        ("a.txt", 51 * 1024**3, "one file may have"),
        ("a.txt", 40 * 1024**3, "does not fit"),
    ],
)
def test_refusals(
    world: World, name: str, size: int, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "free_bytes", lambda: 20 * 1024**3)
    answer = create(world, size=size, name=name)
    assert answer.status_code == 422
    assert word in answer.json()["sentence"]
    assert not Upload.objects.exists()


PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"


@pytest.mark.parametrize("pieces", [[PDF], [PDF[:3], PDF[3:]]])
def test_no_text_is_refused_by_its_first_bytes(
    world: World, pieces: list[bytes]
) -> None:
    """Also where a break came within them; nothing is left, and it may be sent anew."""
    id = create(world, size=10**9).json()["id"]
    *first, last = pieces
    for piece in first:
        assert patch(world, id, 0, piece).status_code == 200
    answer = patch(world, id, sum(map(len, first)), last)
    assert answer.status_code == 415
    assert "a.txt is a PDF" in answer.json()["sentence"]
    assert not Upload.objects.exists()
    assert list(uploads.receiving_folder().iterdir()) == []


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("a.txt", b"A story of %PDF- files"),
        ("a.txt.gz", b"\x1f\x8b\x08 packed"),
        ("a.zip", b"PK\3\4 packed"),
    ],
)
def test_text_and_packed_files_are_no_strangers(
    world: World, name: str, beginning: bytes
) -> None:
    id = create(world, size=len(beginning), name=name).json()["id"]
    answer = patch(world, id, 0, beginning)
    assert answer.json()["state"] == "received"


def test_a_form_without_javascript_refuses_no_text(world: World) -> None:
    file = io.BytesIO(PDF)
    file.name = "story.txt"
    answer = world.client("eve").post(
        world.url("dataset-new"), {"files": file, "language": "sw"}
    )
    assert answer.status_code == 422
    assert "story.txt is a PDF" in answer.content.decode()
    assert not Upload.objects.exists()


def test_room_promised_to_others_is_not_free(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = shutil.disk_usage("/")  # as it is now: others write here as well
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: disk)
    assert uploads.free_bytes() == disk.free
    create(world, size=10**6)
    assert uploads.free_bytes() == disk.free - 10**6


def test_forgetting_a_file(world: World) -> None:
    id = create(world).json()["id"]
    patch(world, id, 0, CONTENT[:1000])
    part = uploads.part_path(Upload.objects.get(id=id))
    assert part.exists()
    assert world.client("eve").delete(world.url("upload", id)).status_code == 204
    assert not part.exists() and not Upload.objects.exists()


def test_what_was_left_for_a_week_is_given_up(world: World) -> None:
    id = create(world).json()["id"]
    patch(world, id, 0, CONTENT[:1000])
    kept = create(world, name="kept.txt").json()["id"]
    old = timezone.now() - timedelta(days=uploads.DAYS_KEPT + 1)
    Upload.objects.filter(id=id).update(created_at=old)
    create(world)
    assert not uploads.part_path(Upload.objects.get(id=id)).exists()
    assert world.client("eve").get(world.url("upload", id)).status_code == 410
    assert world.client("eve").get(world.url("upload", kept)).status_code == 200


@pytest.mark.parametrize(
    ("who", "status"),
    [("alice", 200), ("eve", 200), ("vera", 403), ("charlie", 404), ("anonymous", 302)],
)
@pytest.mark.parametrize("method", ["get", "patch", "delete"])
def test_who_may_touch_an_upload(
    world: World, who: str, status: int, method: str
) -> None:
    id = create(world).json()["id"]
    headers = {"Upload-Offset": "0"}
    answer = getattr(world.client(who), method)(
        world.url("upload", id), headers=headers
    )
    assert answer.status_code == (
        204 if (status, method) == (200, "delete") else status
    )


def test_an_upload_of_another_workspace_is_not_there(world: World) -> None:
    id = create(world).json()["id"]
    foreign = world.url("upload", id).replace("riverside", "elsewhere")
    for method in ("get", "patch", "delete"):
        assert getattr(world.client("charlie"), method)(foreign).status_code == 404
        unknown = world.url("upload", uuid.uuid4())
        assert getattr(world.client("eve"), method)(unknown).status_code == 404


def test_the_name_is_no_path(world: World) -> None:
    id = create(world, name="../../../etc/cron.d/x.txt", size=3).json()["id"]
    patch(world, id, 0, b"abc")
    stored = Upload.objects.get(id=id).file
    place = files.local_path(stored)
    assert place and place.is_relative_to(Path(django_settings.MEDIA_ROOT))
    assert ".." not in stored.split("/")


def test_memory_does_not_grow_with_the_piece(world: World) -> None:
    class Zeros:
        left = 32 * 1024**2

        def read(self, size: int, /) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    upload = Upload.objects.get(id=create(world, size=32 * 1024**2).json()["id"])
    tracemalloc.start()
    uploads.receive(upload=upload, offset=0, stream=Zeros())
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert upload.state == "received"
    assert peak < 4 * 1024**2, f"{peak:,} bytes"
