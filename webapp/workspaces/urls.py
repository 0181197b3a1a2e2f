"""Addresses of a workspace itself: home and people."""

from __future__ import annotations

from django.urls import path

from webapp.workspaces import people, views

urlpatterns = [
    path("", views.workspace_home, name="workspace-home"),
    path("people/", people.people, name="people"),
    path("people/rename/", people.workspace_rename, name="workspace-rename"),
    path("people/leave/", people.leave, name="leave"),
    path("people/invite/", people.invitation_create, name="invitation-create"),
    path(
        "people/invitations/<uuid:invitation_id>/withdraw/",
        people.invitation_withdraw,
        name="invitation-withdraw",
    ),
    path(
        "people/invitations/<uuid:invitation_id>/restore/",
        people.invitation_restore,
        name="invitation-restore",
    ),
    path("people/<uuid:membership_id>/role/", people.member_role, name="member-role"),
    path(
        "people/<uuid:membership_id>/remove/",
        people.member_remove,
        name="member-remove",
    ),
    path("people/restore/<str:ticket>/", people.member_restore, name="member-restore"),
]
