from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.webapp.models.rows import make_model, make_real_target
from tests.webapp.world import World
from webapp.models.models import Model
from webapp.models.services import restore_model, withdraw_model
from webapp.playground.selectors import chat_models, may_chat

# The selectors close old connections, as Gradio's threads need it.
pytestmark = pytest.mark.django_db(transaction=True)

MEMBERS = {"alice": True, "eve": True, "vera": True, "charlie": False}


@pytest.fixture
def model(world: World, tmp_path: Path) -> Model:
    return make_model(make_real_target(world.workspace, tmp_path / "base"))


@pytest.mark.parametrize("who", MEMBERS)
def test_members_alone_chat(world: World, model: Model, who: str) -> None:
    person, member = str(getattr(world, who).id), MEMBERS[who]
    found = chat_models(person, world.workspace.slug)
    assert [one.id for one in found] == ([str(model.id)] if member else [])
    assert may_chat(person, str(model.id)) is member
    assert may_chat(person, f"base:{model.target.base_id}") is member
    assert not chat_models(person, "nowhere")


def test_a_control_is_not_the_first_to_talk_with(world: World, model: Model) -> None:
    newer = make_model(model.target)
    assert [m.id for m in chat_models(str(world.alice.id), world.workspace.slug)] == [
        str(newer.id),
        str(model.id),
    ]
    newer.job.answers = {"control_of": str(model.job_id)}
    newer.job.save()
    assert [m.id for m in chat_models(str(world.alice.id), world.workspace.slug)] == [
        str(model.id),
        str(newer.id),
    ]


def test_what_nobody_may_ask(world: World, model: Model) -> None:
    alice = str(world.alice.id)
    for name in ("", "base:", "gpt", str(uuid.uuid4()), f"base:{model.id}"):
        assert not may_chat(alice, name), name
    assert not may_chat(
        alice, str(model.target.base_id)
    )  # an id of a base is no model's


def test_a_withdrawn_model_is_silent_until_it_is_restored(
    world: World, model: Model
) -> None:
    alice = str(world.alice.id)
    withdraw_model(model=model)
    assert not chat_models(alice, world.workspace.slug)
    assert not may_chat(alice, str(model.id))
    restore_model(model=model)
    assert may_chat(alice, str(model.id))
