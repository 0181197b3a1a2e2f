"""Addresses of datasets."""

from __future__ import annotations

from django.urls import path

from webapp.datasets import upload_views, views

urlpatterns = [
    path("", views.dataset_list, name="dataset-list"),
    path("new/", views.dataset_new, name="dataset-new"),
    path("languages/", views.dataset_languages, name="dataset-languages"),
    path("uploads/", upload_views.upload_create, name="upload-create"),
    path("uploads/<uuid:upload_id>/", upload_views.upload, name="upload"),
    path("<uuid:dataset_id>/", views.dataset, name="dataset"),
    path("<uuid:dataset_id>/live/", views.dataset_live, name="dataset-live"),
    path("<uuid:dataset_id>/rows/", views.dataset_rows, name="dataset-rows"),
    path("<uuid:dataset_id>/correct/", views.dataset_correct, name="dataset-correct"),
    path(
        "<uuid:dataset_id>/describe/", views.dataset_describe, name="dataset-describe"
    ),
    path(
        "<uuid:dataset_id>/add/", views.dataset_add_version, name="dataset-add-version"
    ),
    path("<uuid:dataset_id>/delete/", views.dataset_delete, name="dataset-delete"),
    path("<uuid:dataset_id>/restore/", views.dataset_restore, name="dataset-restore"),
    path(
        "<uuid:dataset_id>/download/", views.dataset_download, name="dataset-download"
    ),
]
