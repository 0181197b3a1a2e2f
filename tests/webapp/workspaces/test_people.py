"""Members, roles and invitations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.webapp.world import World
from webapp.accounts.models import User
from webapp.core.errors import Refusal
from webapp.workspaces import services
from webapp.workspaces.models import Invitation, Membership, Role

NEW = {
    "name": "Amina",
    "email": "amina@example.org",
    "password": "a-wide-lake-12",
    "again": "a-wide-lake-12",
}


def membership(world: World, who: str) -> Membership:
    return world.workspace.memberships.get(user=getattr(world, who))


def sentences(answer: object) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def test_everybody_sees_members_and_only_owners_buttons(world: World) -> None:
    for who, buttons in (("alice", True), ("eve", False), ("vera", False)):
        page = world.client(who).get(world.url("people")).content.decode()
        assert "vera@example.org" in page
        assert ("Invite by link" in page) is buttons


def test_a_role_is_changed(world: World) -> None:
    url = world.url("member-role", membership(world, "vera").id)
    world.client("alice").post(url, {"role": "editor"})
    assert membership(world, "vera").role == Role.EDITOR
    world.client("alice").post(url, {"role": "emperor"})
    assert membership(world, "vera").role == Role.EDITOR


def test_the_last_owner_stays(world: World) -> None:
    alice, client = membership(world, "alice"), world.client("alice")
    for url, data in (
        (world.url("member-role", alice.id), {"role": "viewer"}),
        (world.url("member-remove", alice.id), {}),
        (world.url("leave"), {}),
    ):
        answer = client.post(url, data, follow=True)
        assert any("only owner" in said for said in sentences(answer)), url
        assert membership(world, "alice").role == Role.OWNER
    # Control: with a second owner she may go.
    services.change_role(membership=membership(world, "eve"), role=Role.OWNER)
    client.post(world.url("leave"))
    assert client.get(world.url("workspace-home")).status_code == 404


def test_a_removal_can_be_undone(world: World) -> None:
    client = world.client("alice")
    page = client.post(
        world.url("member-remove", membership(world, "eve").id), follow=True
    )
    assert world.client("eve").get(world.url("workspace-home")).status_code == 404
    [message] = page.context["messages"]
    undo = message.extra_tags.removeprefix("undo:")
    assert f'action="{undo}"' in page.content.decode()
    client.post(undo)
    assert membership(world, "eve").role == Role.EDITOR


def test_an_undo_brings_nobody_who_was_not_there(world: World) -> None:
    url = world.url("member-restore", f'["riverside","{world.charlie.id}","owner"]:x:y')
    assert world.client("alice").post(url).status_code == 404
    # A ticket of one workspace is no good in another.
    page = world.client("alice").post(
        world.url("member-remove", membership(world, "eve").id), follow=True
    )
    [message] = page.context["messages"]
    undo = message.extra_tags.removeprefix("undo:")
    foreign = undo.replace(world.workspace.slug, world.elsewhere.slug, 1)
    assert world.client("charlie").post(foreign).status_code == 404


def test_a_member_of_another_workspace_is_not_found(world: World) -> None:
    other = world.elsewhere.memberships.get()
    for name in ("member-role", "member-remove"):
        url = world.url(name, other.id)
        assert world.client("alice").post(url, {"role": "viewer"}).status_code == 404
    invitation = services.invite(workspace=world.elsewhere, role=Role.VIEWER).invitation
    for name in ("invitation-withdraw", "invitation-restore"):
        url = world.url(name, invitation.id)
        assert world.client("alice").post(url).status_code == 404


def invited(world: World, role: str = "editor") -> str:
    page = world.client("alice").post(world.url("invitation-create"), {"role": role})
    link = page.context["link"]
    assert link in page.content.decode()
    return link.removeprefix("http://testserver")


def test_a_link_is_shown_once(world: World) -> None:
    url = invited(world)
    token = url.split("/")[2]
    assert token not in world.client("alice").get(world.url("people")).content.decode()
    assert token not in Invitation.objects.get().token_sha256


def test_somebody_new_joins(world: World) -> None:
    url, client = invited(world), Client()
    assert client.get(url).status_code == 200
    assert client.post(url, NEW).url == world.url("workspace-home")
    assert client.get(world.url("workspace-home")).status_code == 200
    amina = User.objects.get(email="amina@example.org")
    assert world.workspace.memberships.get(user=amina).role == Role.EDITOR
    # Once: the next one makes no account.
    again = Client().post(url, {**NEW, "email": "second@example.org"})
    assert again.status_code == 410
    assert not User.objects.filter(email="second@example.org").exists()


def test_somebody_known_joins(world: World) -> None:
    url, client = invited(world, "viewer"), world.client("charlie")
    assert world.workspace.name in client.get(url).content.decode()
    client.post(url)
    assert membership(world, "charlie").role == Role.VIEWER


def test_a_member_keeps_the_role_and_the_link_stays(world: World) -> None:
    url = invited(world, "owner")
    world.client("vera").post(url)
    assert membership(world, "vera").role == Role.VIEWER
    assert Client().get(url).status_code == 200


def test_a_known_address_must_sign_in_first(world: World) -> None:
    answer = Client().post(invited(world), {**NEW, "email": "charlie@example.org"})
    assert answer.status_code == 422
    assert answer.context["form"].errors["email"]
    assert not world.workspace.memberships.filter(user=world.charlie).exists()


def test_withdrawn_and_old_invitations_are_over(world: World) -> None:
    url = invited(world)
    invitation = Invitation.objects.get()
    world.client("alice").post(world.url("invitation-withdraw", invitation.id))
    assert Client().get(url).status_code == 410
    world.client("alice").post(world.url("invitation-restore", invitation.id))
    assert Client().get(url).status_code == 200
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert Client().post(url, NEW).status_code == 410
    assert not User.objects.filter(email=NEW["email"]).exists()


def test_an_invitation_is_used_by_one(world: World) -> None:
    new = services.invite(workspace=world.workspace, role=Role.VIEWER)
    services.accept_invitation(token=new.token, user=world.charlie)
    dora = User.objects.create_user("dora@example.org")
    with pytest.raises(Refusal):
        services.accept_invitation(token=new.token, user=dora)


def test_rename(world: World) -> None:
    client, url = world.client("alice"), world.url("workspace-rename")
    client.post(url, {"name": "ئارخىپ"})
    world.workspace.refresh_from_db()
    assert (world.workspace.name, world.workspace.slug) == ("ئارخىپ", "riverside")
    assert client.post(url, {"name": ""}).status_code == 422


def test_a_name_from_right_to_left_does_not_turn_the_sentence(world: World) -> None:
    world.eve.name = "ئاينۇر"
    world.eve.save()
    page = world.client("alice").post(
        world.url("member-remove", membership(world, "eve").id), follow=True
    )
    [said] = sentences(page)
    assert said.startswith("\N{FIRST STRONG ISOLATE}ئاينۇر\N{POP DIRECTIONAL ISOLATE} ")
