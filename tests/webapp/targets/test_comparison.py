from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.webapp.bases.folders import byte_fallback, make_folder
from tests.webapp.jobs.rows import make_workspace
from tests.webapp.models.rows import make_model, make_real_target
from webapp.core import files
from webapp.targets.comparison import cuttings, measure
from webapp.targets.specimens import Sample

SAMPLE = Sample(target="Habari za asubuhi.", protected="the cat sat.", paired=True)


def test_a_tokenizer_is_measured(tmp_path: Path) -> None:
    folder = str(make_folder(tmp_path, byte_fallback()))
    english = measure(folder, "the cat sat on the mat")
    assert english and english.tokens_per_word == english.tokens / 6
    assert english.characters_per_token == 22 / english.tokens
    uyghur = measure(folder, "ئۇيغۇر")
    assert uyghur and uyghur.tokens == 13  # a start of a word and two bytes a letter
    assert measure(folder, "") is None
    assert measure(str(tmp_path / "nowhere"), "the cat") is None


@pytest.mark.django_db
def test_base_and_models_are_put_side_by_side(tmp_path: Path) -> None:
    target = make_real_target(make_workspace(), tmp_path / "base")
    first, second = make_model(target), make_model(target)
    base, both = cuttings(target.base, [second, first], "Habari za asubuhi.", SAMPLE)
    assert base.names == ["small"] and not base.models
    assert both.models == [second, first], "equal tokenizers are shown once"
    assert base.ribbon and both.ribbon and base.ribbon != both.ribbon
    assert base.target and base.protected
    assert base.factor == base.target.tokens / base.protected.tokens
    assert not both.has_new, "without a passport nobody knows which are new"


@pytest.mark.django_db
def test_pieces_are_called_new_where_there_are_some(tmp_path: Path) -> None:
    target = make_real_target(make_workspace(), tmp_path / "base")
    target.base.passport = {"vocabulary": 1}
    base, model = cuttings(target.base, [make_model(target)], "Habari.", SAMPLE)
    assert model.has_new and not base.has_new


@pytest.mark.django_db
def test_without_translations_there_is_no_factor(tmp_path: Path) -> None:
    target = make_real_target(make_workspace(), tmp_path / "base")
    apart = Sample(SAMPLE.target, SAMPLE.protected, paired=False)
    (base,) = cuttings(target.base, [], "Habari.", apart)
    assert base.factor is None and base.target


@pytest.mark.django_db
def test_files_that_are_gone_do_not_break_the_page(tmp_path: Path) -> None:
    target = make_real_target(make_workspace(), tmp_path / "base")
    model = make_model(target)
    folder = files.local_path(model.folder)
    assert folder
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "base")
    found = cuttings(target.base, [model], "Habari.", SAMPLE)
    assert all(cutting.refusal and not cutting.ribbon for cutting in found)
