"""Addresses of models."""

from __future__ import annotations

from django.urls import path

from webapp.models import views

urlpatterns = [
    path("", views.model_list, name="model-list"),
    path("<uuid:model_id>/", views.model, name="model"),
    path("<uuid:model_id>/download/", views.model_download, name="model-download"),
    path("<uuid:model_id>/rename/", views.model_rename, name="model-rename"),
    path("<uuid:model_id>/withdraw/", views.model_withdraw, name="model-withdraw"),
    path("<uuid:model_id>/restore/", views.model_restore, name="model-restore"),
    path("<uuid:model_id>/part/", views.model_part, name="model-part"),
    path("<uuid:model_id>/as-base/", views.model_as_base, name="model-as-base"),
]
