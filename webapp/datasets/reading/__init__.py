"""Reading what people upload: files -> text -> rows -> rows of a kind.

    containers.py   .gz .zst .zip opened as streams, bombs stopped
    strangers.py    files that are no text: pictures, office documents, recordings
    encoding.py     bytes to lines
    tables.py       files to records with their line numbers; CSV and TSV
    json_records.py the same for JSON lines and JSON lists
    parquet.py      the same for Parquet
    cells.py        what stands in a cell: text, a list or an object written as text
    documents.py    plain text to documents
    kinds.py        what the records are, and a record as a row of its kind
    figures.py      statistics while rows go by
    problems.py     what was dropped and why; Unreadable
    reader.py       all of it: guess(files), read(files, options, out)

Nothing is held in memory but one record, counters and a preview. Standard library,
Django's gettext and, for their formats, zstandard, pyarrow and charset-normalizer.
"""
