"""Which tags name one language: the engine and the site read the same table."""

from __future__ import annotations

SAME = [
    ("kk", "kk-Cyrl"),
    ("kk", "kk-KZ"),
    ("kk", "kaz"),
    ("kk", "KAZ_cyrl"),
    ("kk-Cyrl", "kk-KZ"),
    ("sw", "swh"),
    ("zh", "zh-Hans"),
    ("zh", "zh-Hant"),
    ("zh", "cmn"),
    ("zh-TW", "zh-Hant"),
    ("sr", "sr-Latn"),
    ("sr", "sr-Cyrl"),
    ("ar", "arb"),
    ("et", "ekk"),
    ("no", "nb"),
    ("he", "iw"),
    ("en", "en-GB"),
    ("pt-BR", "pt-PT"),
    ("ca", "ca-valencia"),
    ("x-village", "X-village"),
    ("no tag!", "no tag!"),
]
DIFFERENT = [
    ("sr-Cyrl", "sr-Latn"),
    ("zh-Hans", "zh-Hant"),
    ("zh-CN", "zh-TW"),
    ("kk-Cyrl", "kk-CN"),  # written in Arabic letters there
    ("kk", "ky"),
    ("kaz", "ka"),
    ("zh", "yue"),
    ("ar", "arz"),
    ("id", "ms"),
    ("hr", "sr"),
    ("nb", "nn"),
    ("x-village", "x-town"),
    ("und", "en"),
    ("no tag!", "no"),
    ("", "en"),
]
