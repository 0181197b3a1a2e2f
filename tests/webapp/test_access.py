"""Every address of the site, for the stranger, the viewer, the editor and the owner.

An address that is added without an entry here fails.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from tests.webapp.jobs.rows import make_dataset
from tests.webapp.models.rows import make_model
from tests.webapp.world import World
from webapp.bases.models import BaseModel
from webapp.datasets.models import Upload
from webapp.recipes.models import WorkspaceRecipe
from webapp.targets.models import LanguageTarget
from webapp.workspaces.models import Invitation, Membership, Workspace

ANYBODY = {"sign-in", "sign-in-link", "join", "healthz"}
SIGNED_IN = {"home", "sign-out", "password-change", "profile", "workspace-new"}
VIEWER = {
    "workspace-home",
    "people",
    "leave",
    "dataset-list",
    "dataset-languages",
    "dataset",
    "dataset-live",
    "dataset-rows",
    "dataset-download",
    "base-list",
    "base",
    "base-try",
    "base-state",
    "target-list",
    "language-search",
    "target",
    "recipe-list",
    "recipe",
    "recipe-export",
    "job-list",
    "job",
    "job-live",
    "job-curves",
    "model-list",
    "model",
    "model-download",
    "chat",
}
EDITOR = {
    "recipe-clone",
    "model-part",
    "recipe-import",
    "recipe-change",
    "recipe-delete",
    "recipe-restore",
    "dataset-new",
    "upload-create",
    "upload",
    "dataset-correct",
    "dataset-describe",
    "dataset-add-version",
    "dataset-delete",
    "dataset-restore",
    "base-new",
    "base-retry",
    "base-delete",
    "base-restore",
    "target-new",
    "target-texts",
    "target-change",
    "target-delete",
    "target-restore",
    "job-new",
    "job-plan",
    "example-launch",
    "job-cancel",
    "job-pause",
    "job-resume",
    "job-retry",
    "job-control",
    "model-rename",
    "model-withdraw",
    "model-restore",
    "model-as-base",
}
OWNER = {
    "workspace-rename",
    "invitation-create",
    "invitation-withdraw",
    "invitation-restore",
    "member-role",
    "member-remove",
    "member-restore",
}
INSIDE = {
    **dict.fromkeys(VIEWER, "viewer"),
    **dict.fromkeys(EDITOR, "editor"),
    **dict.fromkeys(OWNER, "owner"),
}
RANK = {"viewer": 0, "editor": 1, "owner": 2}
PEOPLE = {"vera": "viewer", "eve": "editor", "alice": "owner"}


def patterns(resolver: Any, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for one in resolver.url_patterns:
        route = before + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from patterns(one, route)
        else:
            yield route, one


ALL = {one.name: (route, one) for route, one in patterns(get_resolver())}


def address(name: str, slug: str) -> str:
    """With arguments of the right kind that name nothing."""
    _, pattern = ALL[name]
    samples: dict[str, object] = {}
    route = ALL[name][0]
    for part in route.split("<")[1:]:
        kind, key = part.split(">")[0].split(":")
        samples[key] = uuid.UUID(int=7) if kind == "uuid" else "nothing"
    if "workspace" in samples:
        samples["workspace"] = slug
    return reverse(name, kwargs=samples)


def statuses(client: Client, url: str) -> set[int]:
    """Of GET and POST, without those that the view does not take."""
    client.raise_request_exception = False
    found = {client.get(url).status_code, client.post(url).status_code}
    return found - {405}


def test_every_address_has_a_name_and_an_entry() -> None:
    routes = list(patterns(get_resolver()))
    assert len(routes) == len(ALL), "two addresses share a name"
    assert set(ALL) == ANYBODY | SIGNED_IN | set(INSIDE)


def test_inside_a_workspace_every_view_states_its_role() -> None:
    for name, (route, one) in ALL.items():
        inside = route.startswith("w/<slug:workspace>/")
        assert inside == (name in INSIDE), name
        stated = getattr(one.callback, "minimum_role", None)
        assert stated == INSIDE.get(name), name


def test_the_anonymous_are_sent_to_sign_in(world: World) -> None:
    client = world.client("anonymous")
    for name in set(INSIDE) | SIGNED_IN:
        url = address(name, world.workspace.slug)
        for answer in (client.get(url), client.post(url)):
            assert answer.status_code == 302, name
            assert answer.url.startswith("/sign-in/?next="), name


def test_a_stranger_finds_nothing(world: World) -> None:
    for name in INSIDE:
        url = address(name, world.workspace.slug)
        assert statuses(world.client("charlie"), url) == {404}, name


def rows_of(workspace: Workspace) -> dict[str, uuid.UUID]:
    """A row of everything that an address can name, by the name of its argument."""
    base = BaseModel.objects.create(
        workspace=workspace,
        name="base",
        origin="folder",
        address="/base",
        state="ready",
    )
    target = LanguageTarget.objects.create(
        workspace=workspace, language="sw", base=base
    )
    model = make_model(target)
    recipe = WorkspaceRecipe.objects.create(workspace=workspace, name="own", toml="")
    upload = Upload.objects.create(workspace=workspace, name="a.txt", size=1)
    invitation = Invitation.objects.create(
        workspace=workspace, role="viewer", token_sha256="0", expires_at=timezone.now()
    )
    return {
        "base_id": base.id,
        "target_id": target.id,
        "job_id": model.job_id,
        "model_id": model.id,
        "dataset_id": make_dataset(workspace).id,
        "recipe_id": recipe.id,
        "upload_id": upload.id,
        "invitation_id": invitation.id,
        "membership_id": Membership.objects.get(workspace=workspace).id,
    }


def test_what_another_workspace_owns_is_not_there(world: World) -> None:
    """For its owner in one's own workspace, and by every address that names a row."""
    foreign = rows_of(world.elsewhere)
    own: set[int] = set()
    for name in INSIDE:
        keys = set(re.findall(r"<uuid:(\w+)>", ALL[name][0]))
        if not keys:
            continue
        rows = {key: foreign[key] for key in keys}
        url = reverse(name, kwargs={"workspace": world.workspace.slug, **rows})
        assert statuses(world.client("alice"), url) == {404}, name
        there = reverse(name, kwargs={"workspace": world.elsewhere.slug, **rows})
        own.add(world.client("charlie").get(there).status_code)
    assert own >= {200, 405}  # where they belong the same rows are found


@pytest.mark.parametrize("who", PEOPLE)
def test_a_role_that_is_too_low_is_refused(world: World, who: str) -> None:
    for name, minimum in INSIDE.items():
        if RANK[PEOPLE[who]] < RANK[minimum]:
            found = statuses(world.client(who), address(name, world.workspace.slug))
            assert found == {403}, name


@pytest.mark.parametrize("who", PEOPLE)
def test_a_role_that_suffices_is_let_in(world: World, who: str) -> None:
    """Things that name nothing are 404 to members too: what matters is "not 403" and
    that lists open."""
    client = world.client(who)
    for name, minimum in INSIDE.items():
        url = address(name, world.workspace.slug)
        if RANK[PEOPLE[who]] >= RANK[minimum] and name != "leave":
            answer = client.get(url)
            assert answer.status_code not in (302, 403, 500), (name, url)
            if name.endswith("-list") or name in ("workspace-home", "people", "chat"):
                assert answer.status_code == 200, name


@pytest.mark.parametrize("name", sorted(ANYBODY))
def test_what_anybody_may_open(world: World, name: str) -> None:
    answer = world.client("anonymous").get(address(name, ""))
    assert answer.status_code in (200, 410)  # 410: the token names nothing
