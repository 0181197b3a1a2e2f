"""All addresses. Inside a workspace they begin with /w/<slug>/; every view there is
wrapped by webapp.core.access.for_role.
"""

from __future__ import annotations

from django.urls import include, path

from webapp.core.health import healthz
from webapp.workspaces import people, views

inside = [
    path("", include("webapp.workspaces.urls")),
    path("datasets/", include("webapp.datasets.urls")),
    path("bases/", include("webapp.bases.urls")),
    path("targets/", include("webapp.targets.urls")),
    path("recipes/", include("webapp.recipes.urls")),
    path("jobs/", include("webapp.jobs.urls")),
    path("models/", include("webapp.models.urls")),
    path("chat/", include("webapp.playground.urls")),
]

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("", views.home, name="home"),
    path("", include("webapp.accounts.urls")),
    path("new/", views.workspace_new, name="workspace-new"),
    path("join/<str:token>/", people.join, name="join"),
    path("w/<slug:workspace>/", include(inside)),
]

handler403 = "webapp.core.failures.forbidden"
handler404 = "webapp.core.failures.not_found"
handler500 = "webapp.core.failures.broken"
