from __future__ import annotations

import pytest

from tests.webapp.jobs.rows import make_dataset
from tests.webapp.models.rows import make_real_target
from tests.webapp.world import World
from webapp.datasets.models import Kind
from webapp.targets.forms import DataForm
from webapp.targets.uses import USES, learned_datasets

pytestmark = pytest.mark.django_db


def test_a_page_says_what_each_dataset_is_for(world: World, tmp_path) -> None:
    target = make_real_target(world.workspace, tmp_path / "base")
    target.datasets.clear()
    words = make_dataset(target.workspace, Kind.PARALLEL, name="maneno")
    version = words.versions.get()
    version.preview = [{"source": "house", "target": "nyumba"}] * 9
    version.save()
    for dataset in (
        words,
        make_dataset(target.workspace, name="ikinyarwanda", languages=("rw",)),
        make_dataset(target.workspace, Kind.PREFERENCES, name="bora"),
        make_dataset(target.workspace, name="hadithi"),
        make_dataset(target.workspace, name="unread", ready=False),
    ):
        target.datasets.add(dataset)
    found = {dataset.name: str(dataset.use) for dataset in learned_datasets(target)}
    assert found == {
        "maneno": USES["dictionary"],
        "ikinyarwanda": USES["related"],
        "bora": USES["preferences"],
        "hadithi": USES["target"],
        "unread": "",
    }
    page = world.client("alice").get(world.url("target", target.id)).content.decode()
    for role in ("dictionary", "related", "preferences", "target"):
        assert str(USES[role]).split(":")[0].split(",")[0] in page


def test_every_kind_can_be_chosen(world: World, tmp_path) -> None:
    for kind in Kind:
        make_dataset(world.workspace, kind, name=f"some {kind}")
    form = DataForm(world.workspace)
    offered = {row["dataset"].kind for group in form.kinds() for row in group["rows"]}
    assert offered == set(Kind)
