from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from tests.webapp.jobs.rows import make_dataset, make_whole_target, make_workspace
from webapp.bases.models import BaseModel
from webapp.core.errors import Refusal
from webapp.datasets.models import Kind
from webapp.jobs.inputs import gather
from webapp.jobs.proposal import Answers, propose
from webapp.jobs.roles import role_of

pytestmark = pytest.mark.django_db


def with_rows(kind: str, rows: list[dict[str, Any]], *languages: str) -> Any:
    dataset = make_dataset(make_workspace(), kind, languages=languages)
    version = dataset.versions.get()
    version.preview = rows
    version.save()
    return dataset, version


WORDS = [{"source": word, "target": "x"} for word in ("house", "to go", "Mount Kenya")]
DEFINED = [{**row, "target": "a building in which people live"} for row in WORDS]
SENTENCES = [{"source": "Where is the house?", "target": "x"}, *WORDS]


@pytest.mark.parametrize(
    ("kind", "rows", "languages", "role"),
    [
        (Kind.MONOLINGUAL, [], ("sw",), "target"),
        (Kind.MONOLINGUAL, [], (), "target"),
        (Kind.MONOLINGUAL, [], ("sw-KE", "en"), "target"),
        (Kind.MONOLINGUAL, [], ("swh",), "target"),
        (Kind.MONOLINGUAL, [], ("sw-Arab",), "target"),
        (Kind.MONOLINGUAL, [], ("rw",), "related"),
        (Kind.PARALLEL, WORDS, ("en", "sw"), "dictionary"),
        (Kind.PARALLEL, SENTENCES, ("en", "sw"), "parallel"),
        (Kind.PARALLEL, DEFINED, ("en", "sw"), "parallel"),
        (Kind.PARALLEL, [], ("en", "sw"), "parallel"),
        (Kind.INSTRUCTIONS, [], ("sw",), "instructions"),
        (Kind.PREFERENCES, [], ("sw",), "preferences"),
        ("", [], ("sw",), ""),
    ],
)
def test_the_role_of_a_dataset(
    kind: str, rows: list[dict[str, Any]], languages: tuple[str, ...], role: str
) -> None:
    assert role_of(*with_rows(kind, rows, *languages), "sw") == role


def test_every_role_reaches_the_job() -> None:
    target = make_whole_target()
    for kind, languages in ((Kind.PREFERENCES, ("sw",)), (Kind.MONOLINGUAL, ("rw",))):
        target.datasets.add(
            make_dataset(target.workspace, kind, name=kind, languages=languages)
        )
    inputs = gather(target)
    data = inputs.data()
    assert len(data.related) == len(data.preferences) == len(data.target) == 1
    assert {"related", "preferences", "target", "parallel"} <= inputs.available()
    assert "dictionary" not in inputs.available()


def test_models_that_are_given_reach_the_job() -> None:
    target = make_whole_target()
    sibling = BaseModel.objects.create(
        workspace=target.workspace,
        name="chat",
        origin="folder",
        state="ready",
        folder="/chat",
    )
    given = {"instruct": str(sibling.id), "models": [str(sibling.id)]}
    proposal = propose(target=target, answers=Answers(resources=given))
    assert proposal.inputs.resources.instruct == "/chat"
    assert proposal.inputs.resources.models == ("/chat",)
    stranger = BaseModel.objects.create(
        workspace=make_workspace(), name="x", origin="folder", state="ready"
    )
    coming = BaseModel.objects.create(workspace=target.workspace, state="waiting")
    away = BaseModel.objects.create(
        workspace=target.workspace, state="ready", deleted_at=timezone.now()
    )
    for wrong in (stranger.id, coming.id, away.id, "nonsense"):
        with pytest.raises(Refusal, match="not there"):
            propose(target=target, answers=Answers(resources={"donor": str(wrong)}))
