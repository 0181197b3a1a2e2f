"""Language targets: what is to be learned, from which base, out of which text."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from webapp.core.models import Owned


class LanguageTarget(Owned):
    """A language and a base model, with the text to learn and what to protect."""

    language = models.CharField(_("language"), max_length=40)  # BCP 47
    base = models.ForeignKey(
        "bases.BaseModel", on_delete=models.PROTECT, related_name="targets"
    )
    datasets = models.ManyToManyField(
        "datasets.Dataset", related_name="targets", blank=True
    )
    protected = models.ManyToManyField(
        "datasets.Dataset", related_name="protecting_targets", blank=True
    )
    protected_language = models.CharField(max_length=40, default="en")
    deleted_at = models.DateTimeField(null=True, blank=True, db_index=True)
