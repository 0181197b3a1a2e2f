"""Base models that can be taught."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from webapp.core.models import Owned


class BaseModel(Owned):
    """Weights and tokenizer to start from, with what was read of them.

    `passport`: architecture, parameters, vocabulary, rows (padded size), tied,
    byte_fallback, chat_template, special tokens, positions, tokenizer_sha256,
    config_sha256 (webapp/bases/passport.py). `address` is the folder, the hub id, or the
    id of the model made here. `folder` is a path that workers can read, or, where an
    object store keeps what is brought, a name in the storage.
    """

    class Origin(models.TextChoices):
        FOLDER = "folder", _("A folder")
        HUB = "hub", _("A model hub")
        MODEL = "model", _("A model made here")

    class State(models.TextChoices):
        WAITING = "waiting", _("Being brought")
        READY = "ready", _("Ready")
        REFUSED = "refused", _("Refused")

    name = models.CharField(_("name"), max_length=200)
    origin = models.CharField(max_length=10, choices=Origin)
    address = models.CharField(_("folder or hub id"), max_length=1000)
    folder = models.CharField(max_length=1000, blank=True)
    licence = models.CharField(_("licence"), max_length=200, blank=True)
    # Where the rate of its own pretraining ended; None: not known.
    final_learning_rate = models.FloatField(null=True, blank=True)
    languages = models.JSONField(default=list)
    passport = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    reason = models.TextField(blank=True)
    # Whoever brings it says so again and again; one that fell silent is taken over.
    tries = models.PositiveSmallIntegerField(default=0)  # how often it was taken up
    seen_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True, db_index=True)

    def __str__(self) -> str:
        return self.name
