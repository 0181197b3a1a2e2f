"""Signing in and out, links, passwords, and the slowing of guesses."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.webapp.world import PASSWORD, World
from webapp.accounts import services
from webapp.accounts.models import FailedSignIn, SignInLink, User
from webapp.accounts.throttle import FAILURES_PER_ADDRESS, FAILURES_PER_PERSON
from webapp.core.errors import Refusal
from webapp.workspaces.models import Role

NEW = {
    "name": "Amina",
    "email": "Amina@Example.org",
    "password": "a-wide-lake-12",
    "again": "a-wide-lake-12",
}


def sign_in(client: Client, email: str, password: str, next: str = "") -> object:
    return client.post(
        "/sign-in/", {"email": email, "password": password, "next": next}
    )


def test_sign_in_and_out(world: World) -> None:
    client = Client()
    assert sign_in(client, "Alice@example.org", PASSWORD).url == "/"
    assert client.get("/profile/").status_code == 200
    assert client.post("/sign-out/").url == "/sign-in/"
    assert client.get("/profile/").url.startswith("/sign-in/?next=")


def test_sign_out_needs_a_post(world: World) -> None:
    assert world.client("alice").get("/sign-out/").status_code == 405


def test_a_wrong_password_says_so_and_names_nobody(world: World) -> None:
    known = sign_in(Client(), "alice@example.org", "wrong")
    unknown = sign_in(Client(), "nobody@example.org", "wrong")
    for answer in (known, unknown):
        assert answer.status_code == 422
        assert answer.context["form"].non_field_errors() == [
            "E-mail address and password do not match."
        ]


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ("/profile/", "/profile/"),
        ("https://elsewhere.example/", "/"),
        ("//elsewhere.example/", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_after_sign_in_one_stays_on_the_site(
    world: World, wanted: str, reached: str
) -> None:
    assert sign_in(Client(), "eve@example.org", PASSWORD, wanted).url == reached


def test_guessing_is_slowed(world: World) -> None:
    for _ in range(FAILURES_PER_PERSON):
        sign_in(Client(), "alice@example.org", "wrong")
    answer = sign_in(Client(), "alice@example.org", PASSWORD)
    assert answer.status_code == 422
    assert "Wait" in answer.context["form"].non_field_errors()[0]
    # Others at the same address, and Alice from another, are let in.
    assert sign_in(Client(), "eve@example.org", PASSWORD).status_code == 302
    elsewhere = Client(REMOTE_ADDR="10.1.2.3")
    assert sign_in(elsewhere, "alice@example.org", PASSWORD).status_code == 302
    # And after a while so is she.
    FailedSignIn.objects.update(created_at=timezone.now() - timedelta(minutes=16))
    assert sign_in(Client(), "alice@example.org", PASSWORD).status_code == 302


def test_one_address_cannot_try_everybody(world: World) -> None:
    for number in range(FAILURES_PER_ADDRESS):
        services.note_failed_sign_in(email=f"{number}@x.org", address="127.0.0.1")
    assert sign_in(Client(), "vera@example.org", PASSWORD).status_code == 422


def test_the_right_password_forgets_failures(world: World) -> None:
    for _ in range(FAILURES_PER_PERSON - 1):
        sign_in(Client(), "alice@example.org", "wrong")
    sign_in(Client(), "alice@example.org", PASSWORD)
    assert not FailedSignIn.objects.filter(email="alice@example.org").exists()


def test_a_link_is_spent_by_the_form_and_not_by_looking(world: World) -> None:
    link = services.create_sign_in_link(user=world.vera)
    url = f"/link/{link.token}/"
    client = Client()
    for _ in range(2):
        assert client.get(url).status_code == 200
    assert client.post(url, NEW).url == "/"
    assert client.get("/profile/").status_code == 200
    assert Client().get(url).status_code == 410
    assert Client().post(url, NEW).status_code == 410
    world.vera.refresh_from_db()
    assert world.vera.email == "amina@example.org"
    assert world.vera.check_password(NEW["password"])
    with pytest.raises(Refusal):  # two forms that were open at once
        services.use_sign_in_link(
            token=link.token, email="v@x.org", name="V", password="another-word-3"
        )


def test_only_the_hash_of_a_link_is_kept(world: World) -> None:
    link = services.create_sign_in_link(user=world.vera)
    stored = SignInLink.objects.get(user=world.vera)
    assert link.token not in stored.token_sha256


def test_an_old_link_and_a_replaced_one_are_over(world: World) -> None:
    first = services.create_sign_in_link(user=world.vera)
    second = services.create_sign_in_link(user=world.vera)
    assert Client().get(f"/link/{first.token}/").status_code == 410
    assert Client().get(f"/link/{second.token}/").status_code == 200
    SignInLink.objects.update(expires_at=timezone.now())
    assert Client().get(f"/link/{second.token}/").status_code == 410
    with pytest.raises(Refusal):
        services.use_sign_in_link(
            token=second.token, email="v@x.org", name="V", password="x"
        )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"again": "another"}, "again"),
        ({"password": "12345678", "again": "12345678"}, "password"),
        ({"password": "short", "again": "short"}, "password"),
        ({"email": "no address"}, "email"),
        ({"email": "alice@example.org"}, "email"),  # somebody else's
    ],
)
def test_a_bad_answer_spends_no_link(world: World, change: dict, field: str) -> None:
    link = services.create_sign_in_link(user=world.vera)
    answer = Client().post(f"/link/{link.token}/", {**NEW, **change})
    assert answer.status_code == 422
    assert answer.context["form"].errors[field]
    assert Client().get(f"/link/{link.token}/").status_code == 200


def test_password_change(world: World) -> None:
    client, other = world.client("eve"), Client()
    other.force_login(world.eve)
    new = {"password": "a-wide-lake-12", "again": "a-wide-lake-12"}
    refused = client.post("/password/", {"old": "wrong", **new})
    assert refused.status_code == 422 and refused.context["form"].errors["old"]
    assert client.post("/password/", {"old": PASSWORD, **new}).url == "/profile/"
    assert client.get("/profile/").status_code == 200  # this session goes on
    assert other.get("/profile/").status_code == 302  # others end


def test_profile(world: World) -> None:
    client = world.client("eve")
    taken = client.post("/profile/", {"name": "Eve", "email": "alice@example.org"})
    assert taken.status_code == 422 and taken.context["form"].errors["email"]
    client.post("/profile/", {"name": "ئاينۇر", "email": "eve@example.org"})
    world.eve.refresh_from_db()
    assert world.eve.name == "ئاينۇر"


def test_the_first_administrator(db: None) -> None:
    first = services.first_administrator()
    again = services.first_administrator()  # the link was lost: another is given
    assert first and again and first.user == again.user
    assert Client().get(f"/link/{first.token}/").status_code == 410
    client = Client()
    page = client.get(f"/link/{again.token}/")
    assert services.FIRST_EMAIL not in page.content.decode()
    client.post(f"/link/{again.token}/", NEW)
    assert services.first_administrator() is None
    assert User.objects.get().memberships.get().role == Role.OWNER
    assert client.get("/", follow=True).status_code == 200


def test_no_first_administrator_where_somebody_is(world: World) -> None:
    assert services.first_administrator() is None


def test_the_command_makes_a_link(world: World, capsys) -> None:
    call_command("sign-in-link", "EVE@example.org", "--site", "https://m.example/")
    printed = capsys.readouterr().out
    assert re.fullmatch(r"https://m\.example/link/\S{40,}/\n", printed)
    with pytest.raises(CommandError, match="Nobody here"):
        call_command("sign-in-link", "nobody@example.org")


@pytest.mark.django_db
def test_a_teams_first_administrator_begins_by_a_link(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("sign-in-link", "Amina@example.org", "--site", "http://testserver")
    person = User.objects.get()
    assert person.email == "amina@example.org" and not person.has_usable_password()
    assert person.memberships.get().role == Role.OWNER
    assert client.get(capsys.readouterr().out.strip()).status_code == 200
