"""A small world: one workspace with an owner, an editor and a viewer; and a stranger."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.test import Client
from django.urls import reverse

from webapp.accounts.models import User
from webapp.workspaces.models import Membership, Role, Workspace

PASSWORD = "a-quiet-river-7"


@dataclass
class World:
    """Rows and a signed-in client for each person."""

    workspace: Workspace
    elsewhere: Workspace  # Charlie's own
    alice: User  # owner
    eve: User  # editor
    vera: User  # viewer
    charlie: User  # a stranger
    clients: dict[str, Client] = field(default_factory=dict)

    def client(self, who: str) -> Client:
        """ "alice", "eve", "vera", "charlie" or "anonymous"."""
        if who not in self.clients:
            client = Client()
            if who != "anonymous":
                client.force_login(getattr(self, who))
            self.clients[who] = client
        return self.clients[who]

    def url(self, name: str, *args: object) -> str:
        """The address of a view in the workspace; its other arguments in order."""
        return reverse(name, args=[self.workspace.slug, *args])


def build() -> World:
    """Make the rows."""
    people = {
        name: User.objects.create_user(
            f"{name}@example.org", PASSWORD, name=name.capitalize()
        )
        for name in ("alice", "eve", "vera", "charlie")
    }
    workspace = Workspace.objects.create(name="Riverside", slug="riverside")
    elsewhere = Workspace.objects.create(name="Elsewhere", slug="elsewhere")
    for name, role in (
        ("alice", Role.OWNER),
        ("eve", Role.EDITOR),
        ("vera", Role.VIEWER),
    ):
        Membership.objects.create(workspace=workspace, user=people[name], role=role)
    Membership.objects.create(
        workspace=elsewhere, user=people["charlie"], role=Role.OWNER
    )
    return World(workspace=workspace, elsewhere=elsewhere, **people)
