"""A version from WAITING to READY or REJECTED: claimed, read, kept."""

from __future__ import annotations

import logging
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from webapp.core import files
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.datasets.reading.containers import Source
from webapp.datasets.reading.figures import Figures
from webapp.datasets.reading.kinds import ROLES_OF_KIND, guess_columns
from webapp.datasets.reading.problems import Unreadable
from webapp.datasets.reading.reader import Guess, Options, Reading, guess, read

log = logging.getLogger(__name__)

State = DatasetVersion.State

REPORT_SECONDS = 2.0
# A reader that said nothing for so long has died; unpacking alone may be silent a while.
SILENT_SECONDS = 300
MOST_READERS = 3


def claim_version() -> DatasetVersion | None:
    """Take the oldest version that waits to be read, so that nobody else does.

    One whose reader fell silent is taken over; after MOST_READERS it is given up.
    """
    silent = timezone.now() - timedelta(seconds=SILENT_SECONDS)
    wanted = Q(state=State.WAITING) | Q(state=State.READING, seen_at__lt=silent)
    for version in DatasetVersion.objects.filter(wanted).order_by("created_at")[:10]:
        if version.reader >= MOST_READERS:
            sentence = _(
                "Reading stopped %(times)d times without an answer. The files are kept. "
                "Try them one by one, or split the largest."
            )
            _reject(version, sentence % {"times": version.reader})
        elif _mine(version, version.state).update(
            state=State.READING, reader=F("reader") + 1, seen_at=timezone.now()
        ):
            return version
    return None


def _mine(version: DatasetVersion, state: str = State.READING) -> Any:
    """The version's row, as long as nobody else has taken it up since."""
    return DatasetVersion.objects.filter(
        id=version.id, state=state, reader=version.reader
    )


def read_version(*, version_id: UUID) -> None:
    """Read a version's uploads into rows; it ends READY or REJECTED with the reason."""
    version = DatasetVersion.objects.select_related("dataset").get(id=version_id)
    if version.state not in (State.WAITING, State.READING):
        return
    taken = _mine(version, version.state)
    if not taken.update(state=State.READING, seen_at=timezone.now()):
        return
    version.state = State.READING
    try:
        _read(version)
    except Unreadable as problem:
        _reject(version, problem.sentence, problem)
    except Exception:
        # Whatever a strange file does, the person gets an answer and keeps the file.
        log.exception("version %s could not be read", version_id)
        _reject(
            version,
            _("The files could not be read. They are kept; the log has the details."),
        )


def _read(version: DatasetVersion) -> None:
    with ExitStack() as stack:
        sources = [
            Source(upload.name, stack.enter_context(files.as_local(upload.file)))
            for upload in version.uploads.order_by("created_at", "name")
        ]
        languages = version.dataset.languages
        guessed = guess(sources, version.options.get("encoding") or "", languages)
        options = _options(version.options | {"languages": languages}, guessed)
        version.guess, version.options = guessed.as_dict(), options.as_dict()
        _mine(version).update(guess=version.guess, options=version.options)
        out = stack.enter_context(_temporary())
        reading = read(sources, options, out, _reporter(version))  # type: ignore[arg-type]
        out.flush()
        _keep(version, options, reading, Path(out.name))


@contextmanager
def _temporary() -> Iterator[Any]:
    """A file that is gone at the end unless it was moved away."""
    with tempfile.NamedTemporaryFile(dir=receiving_folder(), delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _options(wanted: dict[str, Any], guessed: Guess) -> Options:
    """What a person decided; the guess for the rest."""
    best = guessed.options
    kind = wanted.get("kind") or best.kind
    columns = wanted.get("columns")
    if not columns:
        same = kind == best.kind
        columns = best.columns if same else guess_columns(guessed.sample, kind)
    return Options(
        kind=kind,
        columns={
            role: columns[role] for role in ROLES_OF_KIND[kind] if columns.get(role)
        },
        documents=wanted.get("documents") or best.documents,
        encoding=wanted.get("encoding") or "",
        languages=tuple(wanted.get("languages") or ()),
    )


def _reporter(version: DatasetVersion) -> Callable[[Figures], None]:
    """Says on the row, now and then, how far reading is."""
    last = time.monotonic()

    def report(figures: Figures) -> None:
        nonlocal last
        if time.monotonic() - last < REPORT_SECONDS:
            return
        last = time.monotonic()
        _mine(version).update(
            seen_at=timezone.now(),
            documents=figures.documents,
            characters=figures.characters,
        )

    return report


def _keep(
    version: DatasetVersion, options: Options, reading: Reading, rows: Path
) -> None:
    folder = f"datasets/{version.id}"
    # The name holds the reader's number: one that comes back late overwrites nothing.
    stored = files.store(rows, f"{folder}/rows-{version.reader}.jsonl")
    keep_index(reading.index, stored)
    figures = reading.figures
    with transaction.atomic():
        kept = _mine(version).update(
            rows_file=stored,
            rows_bytes=reading.rows_bytes,
            sha256=reading.sha256,
            documents=figures.documents,
            characters=figures.characters,
            words=figures.words,
            statistics=figures.as_dict(),
            preview=figures.preview,
            problems=reading.problems.as_dict(),
            state=State.READY,
            read_at=timezone.now(),
        )
        if kept:
            Dataset.objects.filter(id=version.dataset_id).update(kind=options.kind)


def keep_index(index: array[int], rows_file: str) -> None:
    """Store where every so many rows begin, beside the rows (see rows.py)."""
    with tempfile.NamedTemporaryFile(dir=receiving_folder(), delete=False) as file:
        index.tofile(file)
    files.store(Path(file.name), f"{rows_file}.index")


def _reject(
    version: DatasetVersion, sentence: str, problem: Unreadable | None = None
) -> None:
    dropped = problem.problems.as_dict() if problem and problem.problems else {}
    _mine(version, version.state).update(
        state=State.REJECTED,
        reason=sentence,
        problems=dropped,
        read_at=timezone.now(),
    )


def receiving_folder() -> Path:
    """Where files lie until they are complete."""
    folder = Path(settings.DATA) / "receiving"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
