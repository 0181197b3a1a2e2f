"""Rows of Parquet files. Their footer is not believed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

from django.utils.translation import gettext as _

from webapp.datasets.reading.containers import MAXIMUM_RATIO, RATIO_APPLIES_FROM
from webapp.datasets.reading.problems import Record, Unreadable

# Small batches: a file of 712 bytes can claim 195 GiB, and its footer does not say so.
PARQUET_BATCH = 256


def parquet_rows(stream: BinaryIO, name: str) -> Iterator[tuple[int, Record]]:
    """Rows one by one with their numbers. Strings stay dictionary-encoded until their
    row is read: a value repeated a million times is not unpacked a million times."""
    import pyarrow
    import pyarrow.parquet

    with ExitStack() as stack:
        if not stream.seekable():  # packed: Parquet is read from its end
            unpacked = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(stream, unpacked)
            stream = unpacked  # type: ignore[assignment]
        size = stream.seek(0, 2)
        limit = max(RATIO_APPLIES_FROM, size * MAXIMUM_RATIO)
        given = number = 0
        try:
            source = pyarrow.PythonFile(stream, mode="r")
            schema = pyarrow.parquet.read_schema(source)
            strings = [
                field.name
                for field in schema
                if pyarrow.types.is_string(field.type)
                or pyarrow.types.is_large_string(field.type)
            ]
            file = pyarrow.parquet.ParquetFile(source, read_dictionary=strings)
            for batch in file.iter_batches(batch_size=PARQUET_BATCH):
                for place in range(batch.num_rows):
                    number += 1
                    record = {
                        column: values[place].as_py()
                        for column, values in zip(
                            batch.schema.names, batch.columns, strict=True
                        )
                    }
                    given += sum(len(v) for v in record.values() if isinstance(v, str))
                    if given > limit:
                        raise Unreadable(_bomb(name, number))
                    yield number, record
        except (pyarrow.ArrowException, OSError, MemoryError, UnicodeError) as problem:
            raise Unreadable(
                _(
                    "%(name)s: after row %(row)d it is not a readable Parquet file "
                    "(%(problem)s)."
                )
                % {"name": name, "row": number, "problem": problem}
            ) from problem


def _bomb(name: str, number: int) -> str:
    return _(
        "%(name)s: row %(row)d: it unpacks to more than %(ratio)d times its size, which no "
        "text does."
    ) % {"name": name, "row": number, "ratio": MAXIMUM_RATIO}
