"""What is refused, why, and that nothing is built on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.training import tiny
from tests.training.vocabulary import bases
from training.vocabulary import candidates, extension
from training.vocabulary.change import unreachable

JUNK = (
    "https://www.qqzz.example/zzqq.html wqx@zzqq.example <zzqq>(cid:12)</zzqq> &zzq; "
)
MOJIBAKE = "привет".encode().decode("cp1251")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" қабар", ""),
        ("日本語テ", ""),
        ("l'eau", ""),
        ("ба\ufffd", "replacement_character"),
        (MOJIBAKE, "mojibake"),
        ("cafÃ©", "mojibake"),
        ("Äš", "mojibake"),
        ("ба\ue001", "private_use"),
        ("ба\u00ad", "control"),
        ("ба12", "digits"),
        ("ба١", "digits"),
        ("бaба", "mixed_scripts"),
        ("ба,", "punctuation"),
        ("ба ба", "space_inside"),
        ("\u200dба", "joiner_first"),
        ("ба" * 9, "too_long"),
    ],
)
def test_each_reason_has_its_name(text: str, why: str) -> None:
    assert candidates.reason(text, 16) == why


@pytest.mark.parametrize(
    "text",
    ["Рівне", "Рі", "Ні", "РСР", "СССР", "Рось", "Übung", "São", "naïve", "Île", "ÄÖ"],
)
def test_words_that_look_a_little_like_mojibake_are_words(text: str) -> None:
    assert candidates.reason(text, 16) == ""


def test_residue_is_taken_out_and_counted() -> None:
    clean, found = candidates.without_residue(JUNK + "a < b && c; 3 > 2 қабар@ www")
    assert found == {"url": 1, "address": 1, "markup": 3, "glyph_name": 1}
    assert clean.split() == "a < b && c; 3 > 2 қабар@ www".split()


@pytest.mark.trap(18)
@pytest.mark.parametrize("kind", bases.BASES)
def test_junk_gives_no_token_and_others_take_its_place(kind: str) -> None:
    texts = [f"{JUNK} {text} {MOJIBAKE} б\ue001а" for text in tiny.documents(120)]

    def made(junk: str) -> extension.Extension:
        settings = replace(bases.SETTINGS, new_tokens=100, junk=junk)
        return extension.extend(bases.BASES[kind](), lambda: texts, settings)

    def is_junk(text: str | None) -> bool:
        return bool(text) and ("zz" in text or "qq" in text or "Рџ" in text)

    skipped, kept = made("skip"), made("keep")
    assert len(skipped.tokens) == len(kept.tokens) == 100
    assert any(is_junk(token.text) for token in kept.tokens)
    assert not any(is_junk(token.text) for token in skipped.tokens)
    assert skipped.figures["masked"]["url"] == 120
    assert skipped.figures["skipped"]["mojibake"] > 0
    assert skipped.figures["skipped"]["private_use"] > 0
    # No kept merge uses a refused piece: every part is old or was kept before it.
    old = set(bases.BASES[kind]().get_vocab().values())
    for token in skipped.tokens:
        assert old.issuperset(token.parts)
        old.add(token.id)
    assert unreachable(skipped.backend, {t.piece: t.id for t in skipped.tokens}) == []


def test_refusals_are_counted_only_as_far_as_they_would_have_been_chosen() -> None:
    often, once = ["ба12 " * 50], ["қа12 " * 3]
    texts = [*tiny.documents(60), *often, *once]
    settings = replace(bases.SETTINGS, minimum_occurrences=4)
    made = extension.extend(bases.sentencepiece(), lambda: texts, settings)
    least = made.tokens[-1].occurrences
    assert Counter("".join(texts))["1"] > least
    assert made.figures["skipped"]["digits"] >= 1
