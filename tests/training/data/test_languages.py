from __future__ import annotations

import pytest

from tests.language_tags import DIFFERENT, SAME
from training.data.languages import (
    named_alike,
    own_tag,
    own_tags,
    same_language,
    tags_of,
)
from training.spec import Corpus, Data


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_language(one: str, other: str) -> None:
    assert same_language(one, other) and same_language(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_two_languages(one: str, other: str) -> None:
    assert not same_language(one, other) and not same_language(other, one)


def test_the_nearest_of_the_own_tags_is_taken() -> None:
    assert own_tag("kaz", ("kk", "en")) == "kk"
    assert own_tag("ky", ("kk", "en")) == "ky"
    assert own_tag("", ("kk", "")) == ""
    # Both are possible; Cyrillic is what Serbian is taken for without a script.
    assert own_tag("sr", ("sr-Latn", "sr-Cyrl")) == "sr-Cyrl"


@pytest.mark.parametrize(
    ("tags", "own", "named"),
    [
        (("eng", "swh"), ("sw", "en"), ("en", "sw")),
        # Two scripts of the job's language stay two.
        (("sr-Latn", "sr-Cyrl"), ("sr", "en"), ("sr-Latn", "sr")),
        (("sr-Latn", "sr"), ("sr", "en"), ("sr-Latn", "sr")),
        (("zh-Hans", "zh-Hant"), ("zh-Hant", "en"), ("zh-Hans", "zh-Hant")),
        (("fr", "de"), ("kk", "en"), ("fr", "de")),
        (("no tag!", "No tag!"), ("no tag!",), ("no tag!", "No tag!")),
    ],
)
def test_two_sides_never_take_one_name(
    tags: tuple[str, ...], own: tuple[str, ...], named: tuple[str, ...]
) -> None:
    assert own_tags(tags, own) == named


def test_all_data_of_a_job_says_a_language_in_one_way() -> None:
    def corpus(*languages: str) -> Corpus:
        return Corpus("a.jsonl", "monolingual", languages)

    data = Data(
        target=(corpus("eng", "kaz"), corpus("kk-Cyrl")),
        related=(corpus("kir"), corpus("kk-Latn")),
        dictionary=(corpus("ky-KG", "en-US"),),
    )
    own = tags_of(data, "kk-Cyrl", "en")
    assert own == ("kk-Cyrl", "en", "kir", "kk-Latn")
    named = named_alike(data, own)
    assert [c.languages for c in named.target] == [("kk-Cyrl", "en"), ("kk-Cyrl",)]
    assert [c.languages for c in named.related] == [("kir",), ("kk-Latn",)]
    assert named.dictionary[0].languages == ("kir", "en")
