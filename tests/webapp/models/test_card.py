from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
import yaml

from tests.webapp.jobs.rows import make_dataset, make_target
from tests.webapp.models.rows import make_model
from training.spec import Data
from webapp.bases.models import BaseModel
from webapp.models.card import adapter_card, folder_name, model_card
from webapp.models.models import Model

pytestmark = pytest.mark.django_db


def front_matter(card: str) -> dict[str, Any]:
    _empty, matter, _rest = card.split("---\n", 2)
    return yaml.safe_load(matter)


@pytest.fixture
def model() -> Model:
    target = make_target()
    dataset = make_dataset(target.workspace)
    dataset.licence, dataset.origin = "CC0", "told by grandmother"
    dataset.save()
    target.datasets.add(dataset)
    return make_model(target)


def test_the_card_says_what_it_is_and_came_from(model: Model) -> None:
    card = model_card(model)
    matter = front_matter(card)
    assert matter["language"] == ["sw"]
    assert matter["base_model"] == "base"
    assert matter["library_name"] == "transformers"
    assert (matter["license"], matter["license_name"]) == ("other", "not stated")
    for said in (
        "| Bits per byte, Swahili (lower is better) | 4 | 1.5 |",
        "| Bits per byte, English (lower is better) | 2 | 2.05 |",
        "| Pieces of the tokenizer | 276 | 400 |",
        "hadithi, version 1 (sw; licence: CC0; origin: told by grandmother",
        "Recipe: default; job 1",
        "held out",
        "## Limits",
        "Nzuri sana.",
        f'from_pretrained("{folder_name(model)}")',
    ):
        assert said in card, said


def test_no_source_is_left_out(model: Model) -> None:
    """Whatever a job learned from, and whatever models it took from, has its licence."""
    rows = {
        role.name: [{"path": "gone", "name": f"of {role.name}", "languages": ["sw"]}]
        for role in fields(Data)
    }
    base = model.target.base
    sibling = BaseModel.objects.create(
        workspace=base.workspace, name="sibling", folder="/sibling", licence="llama3"
    )
    resources = {"instruct": sibling.folder, "donor": "", "models": ["/away"]}
    model.job.spec = {"data": rows, "resources": resources}
    card = model_card(model)
    for role in rows:
        assert f"of {role} (sw; licence: not stated; sha256" in card, role
    assert "sibling: sibling (licence: llama3)" in card
    assert "merged with: not known now (licence: not stated)" in card
    assert "donor" not in card


def test_a_known_licence_is_named_as_the_hub_names_it(model: Model) -> None:
    model.target.base.licence = "Apache-2.0"
    assert front_matter(model_card(model))["license"] == "apache-2.0"


def test_strange_names_do_not_break_the_front_matter(model: Model) -> None:
    model.target.base.name = 'a: "b"\n---\n# <x>'
    model.target.base.licence = "yes: [no"
    matter = front_matter(model_card(model))
    assert matter["base_model"] == 'a: "b"\n---\n# <x>'
    assert matter["license_name"] == "yes: [no"


@pytest.mark.parametrize("report", [{}, {"bits_per_byte": {"protected": None}}])
def test_what_was_not_measured_is_said(report: dict[str, Any]) -> None:
    card = model_card(make_model(report=report))
    assert "| not measured | not measured |" in card
    assert "In its own words" not in card


def test_the_adapter_says_on_which_model_it_loads(model: Model) -> None:
    card = adapter_card(model)
    name = folder_name(model)
    assert front_matter(card)["library_name"] == "peft"
    assert "the folder `base/` beside this one" in card
    assert f'from_pretrained("{name}-adapter/base")' in card


def test_the_folder_has_a_plain_name(model: Model) -> None:
    assert folder_name(model) == f"small-kiswahili-{model.job.number}"
    model.name = "ئۇيغۇرچە"
    assert folder_name(model) == f"model-{str(model.id)[:8]}"
    assert json.dumps(folder_name(model)).isascii()
