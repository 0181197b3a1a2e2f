"""Any language, by any of its names."""

from __future__ import annotations

import pytest
from django.template import Context, Template

from tests.language_tags import DIFFERENT, SAME
from webapp.core import languages


@pytest.mark.parametrize(
    ("query", "tag"),
    [
        ("sw", "sw"),
        ("Swahili", "sw"),
        ("kiswahili", "sw"),
        ("swahli", "sw"),  # misspelt
        ("SWAHILI", "sw"),
        ("tibetan", "bo"),
        ("Tibtan", "bo"),
        ("ئۇيغۇرچە", "ug"),
        ("Uighur", "ug"),
        ("қазақ тілі", "kk"),
        ("Kazak", "kk"),
        ("বাংলা", "bn"),
        ("Bengali", "bn"),
        ("jarai", "jra"),
        ("ug-Cyrl", "ug-Cyrl"),
        ("zh-hant", "zh-Hant"),
        ("nqo", "nqo"),
        ("kjb", "kjb"),
        ("N'Ko", "nqo"),  # the registry has another apostrophe
        ("Olelo Hawaii", "haw"),  # no okina and no macron on this keyboard
        ("'Ōlelo Hawai'i", "haw"),
        ("Ede Yoruba", "yo"),
        ("ᐃᓄᒃᑎᑐᑦ", "iu"),
        ("廣東話", "yue"),
        ("Kreyol", "ht"),
    ],
)
def test_a_language_is_found_first(query: str, tag: str) -> None:
    assert [found.tag for found in languages.find(query)][0] == tag


@pytest.mark.parametrize("query", ["", "   ", "qqqqqqqq", "12345", "%%"])
def test_what_is_no_language_finds_nothing(query: str) -> None:
    assert languages.find(query) == []


def test_the_beginning_of_a_name_finds_several() -> None:
    names = {found.name for found in languages.find("que", limit=40)}
    assert len(names) > 3
    assert all(found.tag for found in languages.find("que"))


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        # Languages are called En, Ha, To, As, Ga, Ak and Ari.
        *((tag, {tag}) for tag in ("en", "ha", "to", "as", "ga", "ak", "ari", "sw")),
        (" ha ", {"ha"}),
        ("zh-Hant", {"zh-Hant"}),
        ("zh-hant", {"zh-Hant"}),
        ("eng", {"en"}),  # another code of it, and no name
        ("SW", {"sw"}),
        ("Swahili", {"sw"}),
        ("serbian", {"sr"}),
    ],
)
def test_one_language_is_meant(text: str, tags: set[str]) -> None:
    assert {found.tag for found in languages.meant(text)} == tags


@pytest.mark.parametrize(
    ("text", "among"),
    [
        ("Ha", {"ha", "haq"}),
        ("EN", {"en", "enc"}),
        ("mon", {"mn", "mnw"}),  # Mongolian by its longer code, Mon by name
        ("kur", {"ku", "kuv"}),
        ("swah", {"sw"}),
    ],
)
def test_doubt_is_a_question(text: str, among: set[str]) -> None:
    tags = {found.tag for found in languages.meant(text)}
    assert len(tags) > 1 and among <= tags


def test_thousands_are_known() -> None:
    assert len(languages._index()) > 7000


@pytest.mark.parametrize(
    ("tag", "script", "direction"),
    [
        ("ug", "Arab", "rtl"),
        ("ug-Cyrl", "Cyrl", "ltr"),
        ("ug-Latn", "Latn", "ltr"),
        ("he", "Hebr", "rtl"),
        ("dv", "Thaa", "rtl"),
        ("nqo", "Nkoo", "rtl"),
        ("syc", "Syrc", "rtl"),
        ("ff-Adlm", "Adlm", "rtl"),
        ("rhg-Rohg", "Rohg", "rtl"),
        ("pa-Arab", "Arab", "rtl"),
        ("ku", "Latn", "ltr"),
        ("bo", "Tibt", "ltr"),
        ("sw", "Latn", "ltr"),
        ("swh", "Latn", "ltr"),
        ("kjb", "", "ltr"),  # not known, and not guessed
    ],
)
def test_script_and_direction(tag: str, script: str, direction: str) -> None:
    described = languages.describe(tag)
    assert (described.script, described.direction) == (script, direction)


def test_names_in_the_interface_and_in_themselves() -> None:
    uyghur = languages.describe("ug")
    assert (uyghur.name, uyghur.autonym) == ("Uyghur", "ئۇيغۇرچە")
    assert uyghur.script_name == "Arabic"
    jarai = languages.describe("jra")
    assert jarai.autonym == jarai.name == "Jarai"


@pytest.mark.parametrize("tag", ["xx", "not a tag", "", "a" * 300, "zzz", "-", "und"])
def test_a_bad_tag_describes_itself(tag: str) -> None:
    described = languages.describe(tag)
    assert described.direction == "ltr"
    assert not languages.is_known(tag)


def test_known_tags_are_known() -> None:
    for tag in ("sw", "ug-Cyrl", "jra", "zh-Hant"):
        assert languages.is_known(tag)


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ 'ug'|language_name }} {{ 'ug'|direction }}", "Uyghur rtl"),
        ("{{ 'bo'|script_name }}", "Tibetan"),
        ("{{ None|language_name }}", ""),
        ("{{ 12345678|figure }}", "12,345,678"),
        ("{{ 1.127|figure:2 }}", "1.13"),
        ("{{ 0.5|figure }}", "0.50"),
        ("{{ None|figure }}", "–"),
        ("{{ 0|figure }}", "0"),
        ("{{ 0.0312|percent }}", "3.1\xa0%"),
        ("{{ 0|duration }}", "0 s"),
        ("{{ 59.6|duration }}", "1 min"),
        ("{{ 200|duration }}", "3 min 20 s"),
        ("{{ 3599|duration }}", "about 1 h"),
        ("{{ 7200|duration }}", "about 2 h"),
        ("{{ 9000|duration }}", "about 2.5 h"),
        ("{{ 200000|duration }}", "about 2 days"),
        ("{{ -3|duration }}", "0 s"),
        ("{{ None|duration }}", "–"),
        ("{{ 7|share_of:0 }} {{ 12|share_of:10 }} {{ None|share_of:3 }}", "0 100 0"),
    ],
)
def test_filters(template: str, shown: str) -> None:
    values = {"None": None}
    assert Template(template).render(Context(values)) == shown


def test_a_size_keeps_its_exact_bytes() -> None:
    shown = Template("{{ n|filesize_exact }}").render(Context({"n": 1_234_567}))
    assert "1.2\xa0MB" in shown and "1,234,567 bytes" in shown


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_language(one: str, other: str) -> None:
    assert languages.same_language(one, other) and languages.same_language(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_two_languages(one: str, other: str) -> None:
    assert not languages.same_language(one, other)
    assert not languages.same_language(other, one)
