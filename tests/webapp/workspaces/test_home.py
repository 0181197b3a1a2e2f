"""The home page of a workspace and the way to it."""

from __future__ import annotations

from django.test import Client

from tests.webapp.world import World
from webapp.accounts.models import User
from webapp.workspaces.models import Membership, Role, Workspace


def test_the_start_leads_to_a_workspace(world: World) -> None:
    answer = world.client("eve").get("/")
    assert answer.url == world.url("workspace-home")


def test_who_is_in_none_may_make_one(db: None) -> None:
    dora = User.objects.create_user("dora@example.org", "a-quiet-river-7")
    client = Client()
    client.force_login(dora)
    page = client.get("/", follow=True)
    assert b"You are in no workspace yet" in page.content
    client.post("/new/", {"name": "Darija"})
    made = Workspace.objects.get()
    assert made.slug == "darija"
    assert Membership.objects.get(workspace=made).role == Role.OWNER


def test_a_name_without_latin_letters_gets_an_address(world: World) -> None:
    client = world.client("alice")
    for _ in range(2):
        answer = client.post("/new/", {"name": "བོད་ཡིག"})
        assert answer.status_code == 302, answer.content
    slugs = set(Workspace.objects.values_list("slug", flat=True))
    assert {"workspace", "workspace-2"} <= slugs


def test_an_empty_name_is_refused_at_the_field(world: World) -> None:
    answer = world.client("alice").post("/new/", {"name": " "})
    assert answer.status_code == 422
    assert answer.context["form"].errors["name"]


def test_an_empty_workspace_teaches(world: World) -> None:
    page = world.client("alice").get(world.url("workspace-home"))
    assert b"Swahili in eight minutes" in page.content
    assert world.url("example-launch").encode() in page.content
    looking = world.client("vera").get(world.url("workspace-home"))
    assert world.url("example-launch").encode() not in looking.content
