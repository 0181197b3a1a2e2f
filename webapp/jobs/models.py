"""Jobs: the queue and the truth about every run."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from webapp.core.models import Owned, Stored


class State(models.TextChoices):
    """Where a job is. See Job for the edges."""

    DRAFT = "draft", _("Draft")
    QUEUED = "queued", _("Waiting")
    CLAIMED = "claimed", _("Starting")
    RUNNING = "running", _("Running")
    STOPPING = "stopping", _("Stopping")
    SUCCEEDED = "succeeded", _("Finished")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


ALIVE = (State.QUEUED, State.CLAIMED, State.RUNNING, State.STOPPING)
HELD = (State.CLAIMED, State.RUNNING, State.STOPPING)  # a worker has the lease
RENEWALS_MISSED = 2  # from then on a worker is called silent


class Desired(models.TextChoices):
    """What people want of a job; workers see it at the next heartbeat."""

    RUN = "run", _("Run")
    PAUSE = "pause", _("Pause")
    CANCEL = "cancel", _("Cancel")


class Host(Stored):
    """A machine that runs jobs."""

    name = models.CharField(max_length=200, unique=True)
    devices = models.JSONField(default=list)  # [{"kind", "name", "memory_bytes"}]
    has_service = models.BooleanField(default=False)  # one that writes is named there
    seen_at = models.DateTimeField(null=True, blank=True)
    drained = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.name


class Job(Owned):
    """One launch of a recipe for a target.

    DRAFT -> QUEUED -> CLAIMED -> RUNNING -> SUCCEEDED | FAILED
                                  RUNNING -> STOPPING -> CANCELLED | QUEUED (pause)
    QUEUED -> CANCELLED; a lost lease or an engine that died: CLAIMED, RUNNING, STOPPING
    -> QUEUED | FAILED | CANCELLED; retry: FAILED, CANCELLED -> QUEUED. Every edge is one
    UPDATE that names the old state and the epoch (webapp/jobs/moves.py). A claim raises
    `epoch` and takes the lease; a write from an older epoch changes nothing.
    """

    number = models.PositiveIntegerField()  # 1, 2, 3... within the workspace
    target = models.ForeignKey(
        "targets.LanguageTarget", on_delete=models.PROTECT, related_name="jobs"
    )
    recipe = models.CharField(max_length=100)
    answers = models.JSONField(default=dict)  # the five questions
    spec = models.JSONField(
        default=dict
    )  # training.spec.JobSpec; paths set on the host
    reasons = models.JSONField(default=list)  # why each derived setting has its value
    predictions = models.JSONField(default=dict)  # seconds, memory and disk, in bytes
    launched_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    state = models.CharField(
        max_length=10, choices=State, default=State.DRAFT, db_index=True
    )
    desired = models.CharField(max_length=10, choices=Desired, default=Desired.RUN)
    queue = models.CharField(max_length=10, default="gpu")
    needs_service = models.BooleanField(default=False)  # only hosts that have one
    epoch = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True, db_index=True)
    host = models.ForeignKey(
        Host, null=True, blank=True, on_delete=models.SET_NULL, related_name="jobs"
    )
    attempts_left = models.PositiveIntegerField(default=0)

    stage = models.CharField(max_length=40, blank=True)
    step = models.BigIntegerField(null=True, blank=True)
    total = models.BigIntegerField(null=True, blank=True)
    seconds_left = models.FloatField(null=True, blank=True)
    metrics = models.JSONField(default=dict)  # of the newest progress event
    events_offset = models.BigIntegerField(
        default=0
    )  # bytes of the event file mirrored

    cause = models.CharField(max_length=40, blank=True)  # code of a failure
    sentence = models.TextField(blank=True)
    hint = models.TextField(blank=True)
    retryable = models.BooleanField(default=False)  # the same job may succeed next time
    report = models.JSONField(default=dict)

    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    @property
    def seconds_to_go(self) -> float | None:
        """Until the whole job ends, in seconds: what was predicted less what has passed,
        at least what its stage still needs. None while it does not run, is overdue or
        nothing is heard of its worker."""
        if self.state != State.RUNNING or self.silent_seconds is not None:
            return None
        left = [self.seconds_left or 0.0]
        whole = self.predictions.get("seconds")
        if self.started_at and whole:
            left.append(whole - (timezone.now() - self.started_at).total_seconds())
        return max(left) if max(left) > 0 else None

    @property
    def silent_seconds(self) -> float | None:
        """Since its worker renewed the lease, where that is overdue; else None."""
        if self.state not in HELD or self.lease_until is None:
            return None
        heard = self.lease_until - timedelta(seconds=settings.LEASE_SECONDS)
        silent = (timezone.now() - heard).total_seconds()
        overdue = silent > RENEWALS_MISSED * settings.LEASE_RENEWAL_SECONDS
        return silent if overdue else None

    @property
    def takes_longer(self) -> bool:
        """Whether it runs for longer than was predicted, and nobody knows how long."""
        whole = self.predictions.get("seconds")
        if self.state != State.RUNNING or not whole or self.started_at is None:
            return False
        late = (timezone.now() - self.started_at).total_seconds() > whole
        return late and self.seconds_to_go is None and self.silent_seconds is None

    class Meta(Owned.Meta):
        constraints = [
            models.UniqueConstraint(fields=["workspace", "number"], name="job_number")
        ]
        indexes = [models.Index(fields=["state", "queue", "queued_at"])]


class JobStage(Stored):
    """One stage of a job as it stands."""

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="stages")
    index = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=40)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    seconds = models.FloatField(null=True, blank=True)
    figures = models.JSONField(default=dict)

    class Meta:
        ordering = ["index"]
        constraints = [
            models.UniqueConstraint(fields=["job", "index"], name="stage_index")
        ]


class Attempt(Stored):
    """One worker's try at a job, under one epoch."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts")
    epoch = models.PositiveIntegerField()
    host = models.ForeignKey(Host, null=True, on_delete=models.SET_NULL)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["epoch"]
        constraints = [
            models.UniqueConstraint(fields=["job", "epoch"], name="attempt_epoch")
        ]


class JobEvent(models.Model):
    """A mirrored line of the event file, or a change of state (kind "state")."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    epoch = models.PositiveIntegerField()
    time = models.DateTimeField()
    kind = models.CharField(max_length=20)
    stage = models.CharField(max_length=40, blank=True)
    step = models.BigIntegerField(null=True, blank=True)
    payload = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["job", "kind"])]


class Checkpoint(Stored):
    """A whole checkpoint: it exists because this row refers to its sealed folder."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="checkpoints")
    epoch = models.PositiveIntegerField()
    stage = models.CharField(max_length=40)
    step = models.BigIntegerField()
    path = models.CharField(max_length=1000)
    manifest_sha256 = models.CharField(max_length=64)
