from __future__ import annotations

from django.apps import AppConfig


class BasesConfig(AppConfig):
    name = "webapp.bases"
