"""What a page says of a job."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from webapp.jobs.models import (
    Checkpoint,
    Desired,
    Host,
    Job,
    JobEvent,
    JobStage,
    State,
)

SILENT = timedelta(seconds=90)  # a host that has not been seen for so long is away

# Names and one-line stories of the stages; a stage that is not named shows as it is.
STAGES = {
    "prepare": (
        gettext_lazy("Prepare"),
        gettext_lazy(
            "Holds some text out, never to be learned from, and measures the base on it."
        ),
    ),
    "extend_vocabulary": (
        gettext_lazy("Extend the vocabulary"),
        gettext_lazy(
            "Gives the tokenizer whole pieces of the language instead of slivers."
        ),
    ),
    "distil_embeddings": (
        gettext_lazy("Distil the new pieces"),
        gettext_lazy(
            "Teaches each new piece what the base makes of the slivers it replaces."
        ),
    ),
    "continue_pretraining": (
        gettext_lazy("Read"),
        gettext_lazy(
            "Reads your text again and again and learns how the language goes on."
        ),
    ),
    "tune_instructions": (
        gettext_lazy("Learn to answer"),
        gettext_lazy("Learns from questions with answers and from translations."),
    ),
    "align_preferences": (
        gettext_lazy("Learn to prefer"),
        gettext_lazy("Learns from the better and the worse of two answers."),
    ),
    "merge_models": (
        gettext_lazy("Mix models"),
        gettext_lazy("Adds or mixes the weights of models that grew from one base."),
    ),
    "merge": (
        gettext_lazy("Put together"),
        gettext_lazy("Writes one model, reads it back and checks that it is the same."),
    ),
    "evaluate": (
        gettext_lazy("Judge"),
        gettext_lazy(
            "Measures the model on the held-out text, as the base was measured."
        ),
    ),
}


def stage_title(name: str) -> str:
    """A stage's name for people."""
    return str(STAGES.get(name, (name, ""))[0])


def key_title(key: str) -> str:
    """The title of `stage`, or of `stage#2` with its number."""
    name, _sign, number = key.partition("#")
    return f"{stage_title(name)} {number}" if number else stage_title(name)


def stage_story(name: str) -> str:
    """What a stage does, in one sentence."""
    return str(STAGES.get(name, ("", ""))[1])


def state_sentence(job: Job) -> str:
    """How the job stands, in one sentence."""
    state, desired = job.state, job.desired
    host = job.host.name if job.host else _("a worker")
    if state == State.QUEUED and desired == Desired.PAUSE:
        return _("Paused. What it has learned is kept; resume it whenever you like.")
    if state == State.QUEUED:
        return waiting_sentence(job)
    if job.silent_seconds is not None:
        return _("Nothing is heard of %(host)s.") % {"host": host}
    if state in (State.CLAIMED, State.RUNNING, State.STOPPING):
        if desired == Desired.CANCEL:
            return _("Stopping, as you asked; this takes up to half a minute.")
        if desired == Desired.PAUSE:
            return _("Pausing: it saves where it is and then waits.")
    return {
        State.DRAFT: _("Not launched yet."),
        State.CLAIMED: _("Starting on %(host)s.") % {"host": host},
        State.RUNNING: _("Learning on %(host)s.") % {"host": host},
        State.STOPPING: _("Stopping on %(host)s; it goes on elsewhere or later.")
        % {"host": host},
        State.SUCCEEDED: _("Finished. The model is ready."),
        State.FAILED: job.sentence or _("Failed."),
        State.CANCELLED: _("Cancelled. What it had finished is kept for a retry.")
        if is_kept(job)
        else _("Cancelled."),
    }[State(state)]


def silence_sentence(job: Job) -> str:
    """What comes of a job whose worker is silent; empty where it is not."""
    if job.silent_seconds is None:
        return ""
    words = {"seconds": settings.LEASE_SECONDS}
    if job.desired == Desired.CANCEL:
        after = _("After %(seconds)d seconds without a word it counts as cancelled.")
    elif job.silent_seconds < settings.LEASE_SECONDS:
        after = _(
            "After %(seconds)d seconds without a word it waits again and is taken up from "
            "where it was last saved; you need do nothing."
        )
    elif not _workers().exists():
        return _(
            "No worker is running. Start one: it takes the job up from where it was last "
            "saved."
        )
    else:
        after = _("The next free worker takes it up from where it was last saved.")
    return (
        _("The machine may be off, cut off, or too busy to answer.")
        + " "
        + after % words
    )


def is_kept(job: Job) -> bool:
    """Whether an ended job's stages and checkpoints still lie where it ran; they are
    removed after UNDO_DAYS (tidying.py)."""
    days = timedelta(days=settings.UNDO_DAYS)
    return job.finished_at is None or timezone.now() - job.finished_at < days


def kept_sentence(job: Job, stages: Iterable[JobStage], kept: Checkpoint | None) -> str:
    """What a retry of a failed or cancelled job goes on from."""
    if not is_kept(job):
        return _(
            "What it had finished was kept for %(days)d days and then removed: a retry "
            "begins anew."
        ) % {"days": settings.UNDO_DAYS}
    if kept:
        words = _(
            "Kept: everything up to step %(step)s of %(stage)s. A retry goes on from there."
        )
        return words % {"step": f"{kept.step:,}", "stage": stage_title(kept.stage)}
    if any(stage.state == JobStage.State.FINISHED for stage in stages):
        return _("Kept: the stages that were finished. A retry goes on after them.")
    return _("No stage was finished: a retry begins anew.")


def waiting_sentence(job: Job) -> str:
    """The place in the queue, or that nobody is there to take it."""
    seen = _workers()
    if not seen.exists():
        return _("Waiting: no worker is running. Start one and the job begins at once.")
    served = seen.filter(has_service=True).exists()
    if job.needs_service and not served:
        return _(
            "Waiting: the recipe asks a service that writes, and no worker that is "
            "running names one. Set MOTHERTONGUE_TRANSLATOR_URL where a worker runs and "
            "start that worker again, or cancel and launch without the service."
        )
    ahead = queue_place(job, served=served)
    if not ahead:
        return _("Waiting until a worker is free: it is the next to begin.")
    return ngettext(
        "Waiting until a worker is free: %(ahead)d job is before it.",
        "Waiting until a worker is free: %(ahead)d jobs are before it.",
        ahead,
    ) % {"ahead": ahead}


def _workers() -> QuerySet[Host]:
    return Host.objects.filter(drained=False, seen_at__gt=timezone.now() - SILENT)


def queue_place(job: Job, *, served: bool = True) -> int:
    """How many waiting jobs of the same queue will be taken before it; where no worker
    is `served` by a service, none of those that need one."""
    # SQLite compares times as text, and its own have fewer digits than Django's: a job
    # would be before itself.
    waiting = Job.objects.filter(
        state=State.QUEUED, desired=Desired.RUN, queue=job.queue
    ).exclude(id=job.id)
    if not served:
        waiting = waiting.filter(needs_service=False)
    return waiting.filter(queued_at__lt=job.queued_at).count() if job.queued_at else 0


def event_words(event: JobEvent) -> str:
    """A line of the log."""
    payload = event.payload
    if event.kind == "note":
        return str(payload.get("sentence", ""))
    if event.kind == "stage_finished":
        seconds = round(payload.get("seconds") or 0)
        return _("%(stage)s: finished in %(seconds)d s.") % {
            "stage": stage_title(event.stage),
            "seconds": seconds,
        }
    state = payload.get("state")
    label = State(state).label if state in State.values else str(state)
    reason = payload.get("reason")
    return f"{label} ({reason})" if reason else str(label)
