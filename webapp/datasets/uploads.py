"""Files on their way in: pieces appended to DATA/receiving/<id>.part.

What is on disk and synced counts, and only that: `received` rises after fsync, and a new
piece first cuts the file back to it. One writer at a time: a lock on the file, and an
UPDATE that names the old `received`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import F, Sum
from django.utils import timezone
from django.utils.text import get_valid_filename
from django.utils.translation import gettext as _

from webapp.accounts.models import User
from webapp.core import files
from webapp.core.errors import Refusal
from webapp.datasets.models import Upload
from webapp.datasets.reading.containers import TABLES, TEXT, format_suffix
from webapp.datasets.reading.problems import Unreadable
from webapp.datasets.reading.strangers import (
    LONGEST_BEGINNING,
    refuse_by_ending,
    refuse_strangers,
)
from webapp.datasets.versions import receiving_folder
from webapp.workspaces.models import Workspace

State = Upload.State

BLOCK_BYTES = 256 * 1024
CHUNK_BYTES = 8 * 1024**2  # what the browser sends in one request
LARGEST_CHUNK_BYTES = 64 * 1024**2
# Left free for the database and for running jobs. A file needs room twice: as it came,
# and as rows.
DISK_FLOOR_BYTES = 1024**3
DAYS_KEPT = 7  # an upload of which no dataset was made
LONGEST_NAME = 500


class Stream(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


class WrongOffset(Exception):
    """A piece that does not begin where the file ends; `received` says where it does."""

    def __init__(self, received: int) -> None:
        super().__init__(received)
        self.received = received


class Damaged(Exception):
    """A piece whose hash is not the one stated; nothing of it was kept."""


def create_upload(*, workspace: Workspace, user: User, name: str, size: int) -> Upload:
    """Room for a file of `size` bytes; refused where it cannot be taken or read."""
    expire_uploads(workspace=workspace)
    _check_name(name)
    if size <= 0:
        raise Refusal(_("%(name)s: the file is empty.") % {"name": name})
    if size > settings.UPLOAD_LIMIT_BYTES:
        raise Refusal(
            _("%(name)s has %(size)s; one file may have %(limit)s. Split or pack it.")
            % {
                "name": name,
                "size": _gigabytes(size),
                "limit": _gigabytes(settings.UPLOAD_LIMIT_BYTES),
            }
        )
    with transaction.atomic():
        # One after the other, so that two do not count on the same room.
        Workspace.objects.select_for_update().get(id=workspace.id)
        _check_room(name, size)
        return Upload.objects.create(
            workspace=workspace, user=user, name=name[-LONGEST_NAME:], size=size
        )


def _check_room(name: str, size: int) -> None:
    free = free_bytes()
    if size * 2 + DISK_FLOOR_BYTES <= free:
        return
    raise Refusal(
        _("%(name)s does not fit: it needs %(size)s twice, and %(free)s are left.")
        % {
            "name": name,
            "size": _gigabytes(size),
            "free": _gigabytes(max(0, free - DISK_FLOOR_BYTES)),
        }
    )


def _check_name(name: str) -> None:
    if name.lower().endswith(".zip") or format_suffix(name) in TEXT | TABLES:
        return
    stranger = refuse_by_ending(name or _("A file without a name"), format_suffix(name))
    raise Refusal(stranger.sentence)


def _gigabytes(size: int) -> str:
    if size < 1000**3:
        return f"{size / 1000**2:,.1f} MB"
    return f"{size / 1000**3:,.1f} GB"


def free_bytes() -> int:
    """Bytes free on the disk, without those promised to uploads under way."""
    under_way = Upload.objects.filter(state=State.RECEIVING)
    promised = under_way.aggregate(sum=Sum(F("size") - F("received")))["sum"] or 0
    return shutil.disk_usage(receiving_folder()).free - promised


def part_path(upload: Upload) -> Path:
    """Where the bytes lie until the file is complete. The person's name for the file
    is no part of it."""
    return receiving_folder() / f"{upload.id}.part"


def receive(
    *, upload: Upload, offset: int, stream: Stream, sha256: str | None = None
) -> Upload:
    """Append what `stream` gives from `offset` on; finish the file with its last byte.

    What arrived before a connection broke is kept. Raises WrongOffset where the file
    does not end at `offset`, or where somebody else is writing it; Damaged where the
    piece does not have the hash `sha256`; Refusal, and nothing is kept, where the first
    bytes are of no text.
    """
    with _alone(upload) as file:
        upload.refresh_from_db()
        _check_offset(upload, offset, os.fstat(file.fileno()).st_size)
        file.truncate(offset)
        file.seek(offset)
        arrived, digest = _append(file, stream, upload.size - offset)
        file.flush()
        os.fsync(file.fileno())
        if sha256 and digest != sha256.lower():
            raise Damaged
        old = Upload.objects.filter(
            id=upload.id, received=offset, state=State.RECEIVING
        )
        if not old.update(received=offset + arrived):
            upload.refresh_from_db()
            raise WrongOffset(upload.received)
        upload.received = offset + arrived
        if offset < LONGEST_BEGINNING:
            _refuse_stranger(upload)
        if upload.received == upload.size:
            path = part_path(upload)
            finish_upload(upload=upload, path=path, sha256=hash_file(path))
    return upload


def _refuse_stranger(upload: Upload) -> None:
    """Forget a file that is no text whatever its name says, before the rest is sent."""
    if Path(upload.name.lower()).suffix not in TEXT | TABLES - {".parquet"}:
        return  # a packed file, or one with a beginning of its own
    with part_path(upload).open("rb") as file:
        beginning = file.read(LONGEST_BEGINNING)
    try:
        refuse_strangers(upload.name, beginning)
    except Unreadable as stranger:
        upload.delete()  # the file goes with the lock on it
        raise Refusal(stranger.sentence) from stranger


def _check_offset(upload: Upload, offset: int, on_disk: int) -> None:
    if upload.state == State.RECEIVING and on_disk < upload.received:
        # Somebody emptied the folder: what is gone must be sent again.
        Upload.objects.filter(id=upload.id).update(received=on_disk)
        upload.received = on_disk
    if upload.state != State.RECEIVING or upload.received != offset:
        raise WrongOffset(upload.received)


def _append(file: IO[bytes], stream: Stream, most: int) -> tuple[int, str]:
    arrived, digest = 0, hashlib.sha256()
    while arrived < most:
        try:
            block = stream.read(min(BLOCK_BYTES, most - arrived))
        except OSError:  # the connection broke
            break
        if not block:
            break
        file.write(block)
        digest.update(block)
        arrived += len(block)
    return arrived, digest.hexdigest()


@contextmanager
def _alone(upload: Upload) -> Iterator[IO[bytes]]:
    """The file, open to one writer; the lock goes with the process that holds it."""
    path = part_path(upload)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            upload.refresh_from_db()
            raise WrongOffset(upload.received) from None
        files.sync_folder(path.parent)
        try:
            yield file
        finally:
            receiving = Upload.objects.filter(id=upload.id, state=State.RECEIVING)
            if not receiving.exists():
                path.unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finish_upload(*, upload: Upload, path: Path, sha256: str) -> None:
    """The whole file has arrived at `path`: keep it."""
    name = get_valid_filename(upload.name)[-100:]
    stored = files.store(path, f"uploads/{upload.id}/{name}")
    upload.file, upload.sha256 = stored, sha256
    upload.received, upload.state = upload.size, State.RECEIVED
    upload.save(update_fields=["file", "sha256", "received", "state"])


def keep_form_file(*, workspace: Workspace, user: User, file: UploadedFile) -> Upload:
    """A file that came whole, by a form without JavaScript."""
    upload = create_upload(
        workspace=workspace, user=user, name=file.name or "", size=file.size or 0
    )
    return receive(upload=upload, offset=0, stream=_source(file))


def _source(file: UploadedFile) -> BinaryIO:
    return file.file  # type: ignore[return-value]


def cancel_upload(*, upload: Upload) -> None:
    """Forget a file of which no dataset was made."""
    if upload.version_id:
        raise Refusal(_("The file belongs to a dataset. Delete the dataset instead."))
    _forget(upload)
    upload.delete()


def expire_uploads(*, workspace: Workspace | None = None) -> int:
    """Free what uploads (of one workspace, or all) hold of which nothing came for
    DAYS_KEPT; how many they were."""
    old = Upload.objects.filter(
        version=None, created_at__lt=timezone.now() - timedelta(days=DAYS_KEPT)
    ).exclude(state=State.EXPIRED)
    if workspace:
        old = old.filter(workspace=workspace)
    for upload in old:
        _forget(upload)
        Upload.objects.filter(id=upload.id).update(
            state=State.EXPIRED, received=0, file=""
        )
    return len(old)


def _forget(upload: Upload) -> None:
    part_path(upload).unlink(missing_ok=True)
    if upload.file:
        files.remove(f"uploads/{upload.id}")
