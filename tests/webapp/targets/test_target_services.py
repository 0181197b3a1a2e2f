from __future__ import annotations

import pytest

from tests.webapp.jobs.rows import make_dataset, make_target, make_workspace
from webapp.core.errors import Refusal
from webapp.targets.models import LanguageTarget
from webapp.targets.services import (
    change_target,
    create_target,
    delete_target,
    restore_target,
)

pytestmark = pytest.mark.django_db


def test_a_target_is_made_whole() -> None:
    base = make_target().base
    learned, english = make_dataset(base.workspace), make_dataset(base.workspace)
    target = create_target(
        workspace=base.workspace,
        language="ug",
        base=base,
        datasets=[learned],
        protected=[english],
    )
    assert list(target.datasets.all()) == [learned]
    assert list(target.protected.all()) == [english]
    assert target.protected_language == "en"


@pytest.mark.parametrize("which", ["datasets", "protected", "base"])
def test_nothing_crosses_from_another_workspace(which: str) -> None:
    base, stranger = make_target().base, make_workspace()
    foreign = make_target(stranger).base if which == "base" else make_dataset(stranger)
    given = {"base": base, "datasets": [make_dataset(base.workspace)], "protected": []}
    given[which] = foreign if which == "base" else [foreign]
    before = LanguageTarget.objects.count()
    with pytest.raises(Refusal, match="this workspace"):
        create_target(workspace=base.workspace, language="sw", **given)
    assert LanguageTarget.objects.count() == before
    if which != "base":
        target = make_target()
        given.pop("base")
        with pytest.raises(Refusal, match="this workspace"):
            change_target(target=target, protected_language="en", **given)
        assert not target.datasets.exists()


def test_change_delete_restore() -> None:
    target = make_target()
    dataset = make_dataset(target.workspace)
    change_target(
        target=target, datasets=[dataset], protected=[], protected_language="fr"
    )
    target.refresh_from_db()
    assert target.protected_language == "fr" and target.datasets.get() == dataset
    delete_target(target=target)
    target.refresh_from_db()
    assert target.deleted_at
    restore_target(target=target)
    target.refresh_from_db()
    assert target.deleted_at is None
