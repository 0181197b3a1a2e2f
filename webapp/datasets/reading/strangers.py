"""Files that are no text whatever their names say: told by their first bytes, or by their
ending, with what to do instead."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from webapp.datasets.reading.problems import Unreadable

DOCUMENT = gettext_noop(
    "%(name)s is a document of a word processor. Save its text as plain text (.txt, "
    "UTF-8) and choose that file."
)
PDF = gettext_noop(
    "%(name)s is a PDF. Save its text as plain text (.txt, UTF-8) and choose that file; "
    "look whether all letters came along."
)
SHEET = gettext_noop(
    "%(name)s is a table of a spreadsheet program. Save it as CSV (UTF-8) and choose that "
    "file."
)
PAGE = gettext_noop(
    "%(name)s is a web page. Save it as plain text (.txt, UTF-8) and choose that file."
)
PICTURE = gettext_noop(
    "%(name)s is a picture. Its text has to be typed or recognised first, and saved as "
    "plain text (.txt)."
)
SOUND = gettext_noop(
    "%(name)s is a recording. What is said in it has to be written down first, and saved "
    "as plain text (.txt)."
)
PACKED = gettext_noop(
    "%(name)s is an archive or a packed file under another name. Unpack it, or give it "
    "its own ending: .zip, .gz or .zst."
)
OFFICE = gettext_noop(
    "%(name)s is an archive, or a document of an office program. Save its text as plain "
    "text (.txt, UTF-8) or as CSV; an archive has to end in .zip."
)
BINARY = gettext_noop(
    "%(name)s does not hold text, or in an encoding that is not known. Save it as UTF-8, "
    "or choose its encoding below."
)
OTHER = gettext_noop(
    "%(name)s: this kind of file cannot be read. Use .txt, .jsonl, .csv, .tsv or "
    ".parquet, if you like packed as .gz, .zst or .zip."
)
ENDINGS = {
    **dict.fromkeys((".doc", ".docx", ".odt", ".rtf", ".epub", ".pages"), DOCUMENT),
    ".pdf": PDF,
    **dict.fromkeys((".xls", ".xlsx", ".ods", ".numbers"), SHEET),
    **dict.fromkeys((".html", ".htm", ".xhtml"), PAGE),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".webp"), PICTURE),
    **dict.fromkeys((".mp3", ".wav", ".ogg", ".flac", ".m4a", ".mp4"), SOUND),
    **dict.fromkeys((".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz"), PACKED),
}  # fmt: skip
# First bytes, by the registered signatures of the formats; no text begins so.
BEGINNINGS = {
    b"%PDF-": PDF,
    b"{\\rtf1": DOCUMENT,
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": DOCUMENT,
    b"\x89PNG\r\n": PICTURE,
    b"\xff\xd8\xff": PICTURE,
    b"GIF87a": PICTURE,
    b"GIF89a": PICTURE,
    b"II*\0": PICTURE,
    b"MM\0*": PICTURE,
    b"OggS\0": SOUND,
    b"fLaC\0": SOUND,
    b"ID3\2": SOUND,
    b"ID3\3": SOUND,
    b"ID3\4": SOUND,
    b"PK\3\4": OFFICE,
    b"\x1f\x8b\x08": PACKED,
    b"\x28\xb5\x2f\xfd": PACKED,
    b"7z\xbc\xaf\x27\x1c": PACKED,
    b"Rar!\x1a\x07": PACKED,
    b"BZh91AY&SY": PACKED,
    b"\xfd7zXZ\0": PACKED,
    b"SQLite format 3\0": BINARY,
}
LONGEST_BEGINNING = max(len(beginning) for beginning in BEGINNINGS)  # bytes
# Bytes below the space that text does not hold (tab, line ends and form feed it does).
CONTROLS = bytes({*range(32)} - {9, 10, 12, 13})
MOST_CONTROLS = 0.1  # share of the sample; text in an encoding of one byte has none


def refuse_by_ending(name: str, suffix: str) -> Unreadable:
    """What is said of a file whose format is not read."""
    return Unreadable(_(ENDINGS.get(suffix, OTHER)) % {"name": name})


def refuse_strangers(name: str, sample: bytes) -> None:
    """Raise Unreadable where a file that begins with `sample` is surely no text."""
    for beginning, sentence in BEGINNINGS.items():
        if sample.startswith(beginning):
            raise Unreadable(_(sentence) % {"name": name})


def refuse_binary(name: str, sample: bytes) -> None:
    """Raise Unreadable where bytes of an encoding of one byte are mostly no letters."""
    controls = len(sample) - len(sample.translate(None, CONTROLS))
    if controls > MOST_CONTROLS * len(sample):
        raise Unreadable(_(BINARY) % {"name": name})
