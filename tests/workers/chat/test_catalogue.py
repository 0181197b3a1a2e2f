from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.webapp.jobs.rows import make_workspace
from tests.webapp.models.rows import make_model, make_real_target
from webapp.bases.models import BaseModel
from webapp.core import files
from webapp.models.models import Model
from webapp.models.services import withdraw_model
from workers.chat.catalogue import BASE, Unknown, folder_of, names

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return make_model(make_real_target(make_workspace(), tmp_path / "base"))


def test_ids_lead_to_folders(model: Model) -> None:
    assert folder_of(str(model.id)) == files.local_path(model.folder)
    base = model.target.base
    assert folder_of(f"{BASE}{base.id}") == Path(base.folder)
    assert names() == [{"id": str(model.id), "name": model.name}]


def test_what_is_not_there_is_unknown(model: Model) -> None:
    base = model.target.base
    for name in ("", "gpt", str(uuid.uuid4()), f"{BASE}{model.id}", str(base.id)):
        with pytest.raises(Unknown):
            folder_of(name)
    BaseModel.objects.filter(id=base.id).update(state=BaseModel.State.REFUSED)
    with pytest.raises(Unknown):
        folder_of(f"{BASE}{base.id}")
    withdraw_model(model=model)
    with pytest.raises(Unknown):
        folder_of(str(model.id))
    assert names() == []
