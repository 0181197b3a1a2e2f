"""Addresses of recipes."""

from __future__ import annotations

from django.urls import path

from webapp.recipes import views

urlpatterns = [
    path("", views.recipe_list, name="recipe-list"),
    path("import/", views.recipe_import, name="recipe-import"),
    path("own/<uuid:recipe_id>/change/", views.recipe_change, name="recipe-change"),
    path("own/<uuid:recipe_id>/delete/", views.recipe_delete, name="recipe-delete"),
    path("own/<uuid:recipe_id>/restore/", views.recipe_restore, name="recipe-restore"),
    path("<slug:name>/", views.recipe, name="recipe"),
    path("<slug:name>/recipe.toml", views.recipe_export, name="recipe-export"),
    path("<slug:name>/clone/", views.recipe_clone, name="recipe-clone"),
]
