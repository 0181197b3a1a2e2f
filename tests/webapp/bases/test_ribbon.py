from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.webapp.bases.folders import byte_fallback, byte_level, make_folder
from webapp.bases.ribbon import MOST_SLIVERS, count_words, make_ribbon
from webapp.core.errors import Refusal

CSS = Path(__file__).resolve().parents[3] / "static/css/ribbon.css"


@given(text=st.text(min_size=1, max_size=40))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_patches_give_back_the_text(tmp_path: Path, text: str) -> None:
    if not (tmp_path / "tokenizer.json").exists():
        make_folder(tmp_path)
    ribbon = make_ribbon(str(tmp_path), text)
    assert "".join(patch["text"] for patch in ribbon.patches) == text
    assert len(ribbon.patches) <= ribbon.pieces


def test_a_character_of_bytes_is_one_patch(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, byte_fallback())
    ribbon = make_ribbon(str(folder), "cat ئۇ")
    kinds = {patch["text"]: patch["kind"] for patch in ribbon.patches}
    assert kinds["ئ"] == kinds["ۇ"] == "split-2"
    assert ribbon.slivers == 4
    assert ribbon.words == 2


def test_every_number_of_slivers_has_its_class() -> None:
    css = CSS.read_text(encoding="utf-8")
    for slivers in range(2, MOST_SLIVERS + 1):
        assert f".piece-split-{slivers} {{" in css


def test_new_pieces_are_told_from_old_ones(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    old = make_ribbon(str(folder), "the cat", known=1_000)
    assert {patch["kind"] for patch in old.patches} == {""}
    new = make_ribbon(str(folder), "the cat", known=0)
    assert {patch["kind"] for patch in new.patches} == {"new"}


def test_what_is_given_up_is_said(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, byte_fallback(False))
    assert make_ribbon(str(folder), "བོད").unknown
    assert not make_ribbon(str(folder), "cat").unknown


def test_words_are_counted_only_where_spaces_part_them() -> None:
    assert count_words("Paka analala juu ya mkeka.") == 5
    assert count_words("กรุงเทพมหานครอมรรัตนโกสินทร์มหินทรายุธยา") is None
    assert count_words("") is None


def test_a_folder_without_a_tokenizer_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="cannot be read"):
        make_ribbon(str(tmp_path), "cat")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(Refusal, match="cannot be read"):
        make_ribbon(str(tmp_path), "cat")


def test_byte_level_is_not_confused_with_fallback(tmp_path: Path) -> None:
    ribbon = make_ribbon(str(make_folder(tmp_path, byte_level())), "the <0x41>")
    assert ribbon.slivers == 0
