"""Finished models."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from webapp.core.models import Owned


class Model(Owned):
    """What a job made. `folder` and `adapter` are storage names of folders."""

    name = models.CharField(_("name"), max_length=200)
    job = models.OneToOneField(
        "jobs.Job", on_delete=models.PROTECT, related_name="model"
    )
    target = models.ForeignKey(
        "targets.LanguageTarget", on_delete=models.PROTECT, related_name="models"
    )
    language = models.CharField(max_length=40)
    folder = models.CharField(max_length=1000)
    adapter = models.CharField(max_length=1000, blank=True)
    bytes = models.BigIntegerField(default=0)
    manifest_sha256 = models.CharField(max_length=64, blank=True)
    report = models.JSONField(default=dict)
    withdrawn_at = models.DateTimeField(null=True, blank=True, db_index=True)

    def __str__(self) -> str:
        return self.name
