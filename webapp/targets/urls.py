"""Addresses of targets."""

from __future__ import annotations

from django.urls import path

from webapp.targets import views

urlpatterns = [
    path("", views.target_list, name="target-list"),
    path("new/", views.target_new, name="target-new"),
    path("languages/", views.language_search, name="language-search"),
    path("texts/", views.target_texts, name="target-texts"),
    path("<uuid:target_id>/", views.target, name="target"),
    path("<uuid:target_id>/change/", views.target_change, name="target-change"),
    path("<uuid:target_id>/delete/", views.target_delete, name="target-delete"),
    path("<uuid:target_id>/restore/", views.target_restore, name="target-restore"),
]
