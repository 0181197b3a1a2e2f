"""Addresses of accounts, outside any workspace."""

from __future__ import annotations

from django.urls import path

from webapp.accounts import views

urlpatterns = [
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("link/<str:token>/", views.sign_in_link, name="sign-in-link"),
    path("password/", views.password_change, name="password-change"),
    path("profile/", views.profile, name="profile"),
]
