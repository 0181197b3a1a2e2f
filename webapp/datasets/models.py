"""Datasets, their uploads and their immutable versions."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from webapp.core.models import Owned, Stored


class Kind(models.TextChoices):
    """What the rows are."""

    MONOLINGUAL = "monolingual", _("Text in one language")
    PARALLEL = "parallel", _("Sentences with their translation")
    INSTRUCTIONS = "instructions", _("Questions with answers")
    PREFERENCES = "preferences", _("Answers with the better one marked")


class Dataset(Owned):
    """Text of one kind in stated languages.

    `languages` are BCP 47 tags; for parallel text the first is the source's.
    """

    name = models.CharField(_("name"), max_length=200)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind)
    languages = models.JSONField(_("languages"), default=list)
    licence = models.CharField(_("licence"), max_length=200, blank=True)
    origin = models.CharField(_("origin"), max_length=500, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True, db_index=True)

    def __str__(self) -> str:
        return self.name


class Upload(Owned):
    """One file on its way in. `received` bytes are on disk and synced."""

    class State(models.TextChoices):
        RECEIVING = "receiving", _("Receiving")
        RECEIVED = "received", _("Received")
        EXPIRED = "expired", _("Expired")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    name = models.CharField(max_length=500)
    size = models.BigIntegerField()
    received = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State, default=State.RECEIVING)
    sha256 = models.CharField(max_length=64, blank=True)
    file = models.CharField(max_length=500, blank=True)  # storage name when received
    version = models.ForeignKey(
        "datasets.DatasetVersion",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="uploads",
    )


class DatasetVersion(Stored):
    """What was read from uploads with stated options; never changed once READY.

    WAITING -> READING -> READY | REJECTED. `rows_file` is the storage name of the
    normalised rows (JSON lines, see training/spec.py, Corpus), `sha256` their hash.
    `problems` lists what was dropped: {"file", "line", "reason"} (the first few) and
    counts by reason. `guess` is what the reader believes of kind and columns,
    `options` what a person decided.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        READING = "reading", _("Reading")
        READY = "ready", _("Ready")
        REJECTED = "rejected", _("Not readable")

    dataset = models.ForeignKey(
        Dataset, on_delete=models.CASCADE, related_name="versions"
    )
    number = models.PositiveIntegerField()
    state = models.CharField(
        max_length=10, choices=State, default=State.WAITING, db_index=True
    )
    options = models.JSONField(default=dict)
    guess = models.JSONField(default=dict)
    rows_file = models.CharField(max_length=500, blank=True)
    rows_bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    documents = models.BigIntegerField(default=0)
    characters = models.BigIntegerField(default=0)
    words = models.BigIntegerField(default=0)
    statistics = models.JSONField(default=dict)
    preview = models.JSONField(default=list)
    problems = models.JSONField(default=dict)
    reason = models.TextField(blank=True)  # why it was rejected, one sentence
    # Whoever reads says so again and again; one that fell silent is taken over.
    reader = models.PositiveSmallIntegerField(default=0)  # how often it was taken up
    seen_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta(Stored.Meta):
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="version_number")
        ]
