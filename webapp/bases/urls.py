"""Addresses of bases."""

from __future__ import annotations

from django.urls import path

from webapp.bases import views

urlpatterns = [
    path("", views.base_list, name="base-list"),
    path("new/", views.base_new, name="base-new"),
    path("<uuid:base_id>/", views.base, name="base"),
    path("<uuid:base_id>/try/", views.base_try, name="base-try"),
    path("<uuid:base_id>/state/", views.base_state, name="base-state"),
    path("<uuid:base_id>/retry/", views.base_retry, name="base-retry"),
    path("<uuid:base_id>/delete/", views.base_delete, name="base-delete"),
    path("<uuid:base_id>/restore/", views.base_restore, name="base-restore"),
]
