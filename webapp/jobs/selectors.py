"""What pages ask about jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from webapp.jobs.models import Desired, Job, JobEvent, JobStage, State
from webapp.jobs.words import (
    event_words,
    kept_sentence,
    silence_sentence,
    stage_title,
    state_sentence,
)

SORTS = {
    "newest": "-created_at",
    "oldest": "created_at",
    "finished": "-finished_at",
    "state": "state",
}
NOTES, ANSWERED, WARNINGS = 50, 12, 5  # shown at most


@dataclass(frozen=True)
class Search:
    """What a list of jobs is narrowed to; as it stands in the address."""

    q: str = ""
    state: str = ""
    target: str = ""
    sort: str = "newest"


def search_jobs(jobs: QuerySet[Job], search: Search) -> QuerySet[Job]:
    """Jobs with what a row of the list shows, in one query."""
    if search.state:
        jobs = jobs.filter(state=search.state)
    if search.target:
        jobs = jobs.filter(target_id=search.target)
    if search.q.lstrip("#").isdecimal():
        jobs = jobs.filter(number=int(search.q.lstrip("#")[:9]))
    elif search.q:
        words = search.q
        jobs = jobs.filter(
            Q(target__base__name__icontains=words)
            | Q(target__language__iexact=words)
            | Q(recipe__icontains=words)
            | Q(sentence__icontains=words)
        )
    jobs = jobs.select_related("target__base", "host", "launched_by")
    return jobs.order_by(SORTS.get(search.sort, SORTS["newest"]), "-number")


def live(job: Job) -> dict[str, Any]:
    """Everything that the live part of a job's page shows."""
    stages = list(job.stages.all())
    points = evaluations(job, stages)
    titles = _titles(stages)
    waits = job.state == State.QUEUED
    running = job.state in (State.CLAIMED, State.RUNNING, State.STOPPING)
    return {
        "job": job,
        "ended": job.finished_at is not None,
        "paused": waits and job.desired == Desired.PAUSE,
        "can_pause": (waits or running) and job.desired == Desired.RUN,
        "can_cancel": (waits or running) and job.desired != Desired.CANCEL,
        "can_retry": job.state in (State.FAILED, State.CANCELLED),
        # A retry of what would fail the same way again is not what to do first.
        "retry_first": job.retryable or job.state == State.CANCELLED,
        "sentence": state_sentence(job),
        "stages": [_ribbon(stage, job, titles) for stage in stages],
        "percent": _percent(job),
        "elapsed": _elapsed(job),
        "to_go": job.seconds_to_go,
        "silent": job.silent_seconds,
        "silence": silence_sentence(job),
        "base": base_figures(stages),
        "judged": judged(job),
        "sizes": sizes(stages),
        "languages": by_language(job),
        "points": points,
        "answers": _answers(points),
        "before": _before(stages),
        "warnings": _warnings(job),
        "notes": _log(job),
        "kept": kept_sentence(
            job, stages, job.checkpoints.order_by("-created_at").first()
        ),
        "model": getattr(job, "model", None),
    }


def evaluations(job: Job, stages: list[JobStage] | None = None) -> list[dict[str, Any]]:
    """Every evaluation once, in the order of the run, with minutes since it began.

    A run that was taken up again measures some steps twice: the later one counts.
    """
    found: dict[tuple[int, str, int], JobEvent] = {}
    for event in job.events.filter(kind="evaluation").order_by("id"):
        key = (event.payload.get("index") or 0, event.stage, event.step or 0)
        found.pop(key, None)
        found[key] = event
    began = job.started_at or job.created_at
    titles = _titles(stages if stages is not None else list(job.stages.all()))
    return [
        {
            "stage": event.stage,
            "index": event.payload.get("index") or 0,
            "title": titles.get(event.payload.get("index"), stage_title(event.stage)),
            "step": event.step or 0,
            "minutes": round((event.time - began).total_seconds() / 60, 3),
            "target": event.payload.get("target_bits_per_byte"),
            "protected": event.payload.get("protected_bits_per_byte"),
            "samples": event.payload.get("samples") or [],
        }
        for event in found.values()
    ]


def curves(job: Job) -> dict[str, Any]:
    """The two curves and the base's lines, for the plot: columns of equal length."""
    stages = list(job.stages.all())
    points = evaluations(job, stages)
    return {
        "minutes": [point["minutes"] for point in points],
        "target": [point["target"] for point in points],
        "protected": [point["protected"] for point in points],
        "base": base_figures(stages),
        "sizes": sizes(stages),
        "stages": [point["title"] for point in points],
        "ended": job.finished_at is not None,
    }


def sizes(stages: list[JobStage]) -> list[dict[str, float]]:
    """Held-out text by the number of new tokens, as the vocabulary was chosen by it."""
    names = ("added", "tokens_per_word", "characters_per_token", "used_share")
    for stage in reversed(stages):
        if len(stage.figures.get("size_curve") or ()) > 2:  # two are no curve
            added = stage.figures.get("added")
            return [
                dict(zip(names, point, strict=False)) | {"chosen": point[0] == added}
                for point in stage.figures["size_curve"]
            ]
    return []


def base_figures(stages: list[JobStage]) -> dict[str, float | None]:
    """Bits per byte of the base as `prepare` measured it, on the text of the curves; None
    where it has not yet. (Older runs measured it on the held-out text alone.)"""
    before = _measured(stages)
    found = before.get("validation_bits_per_byte") or before.get("bits_per_byte") or {}
    return {role: found.get(role) for role in ("target", "protected")}


def judged(job: Job) -> dict[str, Any]:
    """{"target", "protected"}: bits per byte before and after, of the finished report."""
    return job.report.get("bits_per_byte") or {}


def by_language(job: Job) -> list[dict[str, Any]]:
    """Bits per byte of each language, before and after, where the report has others than
    the target's two, which stand on every page anyway."""
    table = job.report.get("bits_per_byte_by_language") or {}
    target = job.target
    if not set(table) - {target.language, target.protected_language}:
        return []
    return [
        {"tag": tag, **{moment: of.get(moment) for moment in ("before", "after")}}
        for tag, of in table.items()
    ]


def _answers(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest answers first, each marked where it differs from the one before."""
    shown, said = [], {}
    for point in points:
        if not point["samples"]:
            continue
        samples = []
        for sample in point["samples"]:
            prompt, answer = sample.get("prompt", ""), sample.get("answer", "")
            changed = prompt in said and said[prompt] != answer
            said[prompt] = answer
            samples.append(sample | {"answer": answer, "changed": changed})
        shown.append(point | {"samples": samples})
    return shown[::-1][:ANSWERED]


def _log(job: Job) -> list[dict[str, Any]]:
    kinds = ("note", "state", "stage_finished")
    events = job.events.filter(kind__in=kinds).order_by("-id")[:NOTES]
    return [{"time": event.time, "words": event_words(event)} for event in events]


def _warnings(job: Job) -> list[str]:
    """What the run warned of, each once, the newest last."""
    said = job.events.filter(kind="note", payload__level="warning").order_by("-id")
    sentences = [str(event.payload.get("sentence", "")) for event in said[:NOTES]]
    return list(dict.fromkeys(sentences))[:WARNINGS][::-1]


def _before(stages: list[JobStage]) -> list[dict[str, str]]:
    return _measured(stages).get("samples") or []


def _measured(stages: list[JobStage]) -> dict[str, Any]:
    for stage in stages:
        if stage.name == "prepare":
            return stage.figures.get("before") or {}
    return {}


def _ribbon(stage: JobStage, job: Job, titles: dict[int, str]) -> dict[str, Any]:
    """A piece of the ribbon: what it is called and how far it has got."""
    percent = 100 if stage.state == JobStage.State.FINISHED else 0
    if stage.state == JobStage.State.RUNNING and stage.name == job.stage:
        percent = _percent(job) or 0
    look = {JobStage.State.FINISHED: "done", JobStage.State.RUNNING: "now"}.get(
        stage.state, ""
    )
    said = stage.get_state_display()
    if look == "now" and job.finished_at is not None:  # it was, when the job ended
        failed = job.state == State.FAILED
        look, said = ("failed", _("Failed")) if failed else ("stopped", _("Stopped"))
    return {
        "name": stage.name,
        "title": titles[stage.index],
        "state": stage.state,
        "look": look,
        "state_title": said,
        "percent": percent,
        "seconds": stage.seconds,
    }


def _titles(stages: list[JobStage]) -> dict[int, str]:
    """Titles by place, numbered where a name comes more than once."""
    names = [stage.name for stage in stages]
    titles = {}
    for place, stage in enumerate(stages):
        count = names[: place + 1].count(stage.name)
        title = stage_title(stage.name)
        repeated = names.count(stage.name) > 1
        titles[stage.index] = f"{title} {count}" if repeated else title
    return titles


def _percent(job: Job) -> int | None:
    if not job.total or job.step is None:
        return None
    return max(0, min(100, round(100 * job.step / job.total)))


def _elapsed(job: Job) -> float | None:
    if job.started_at is None:
        return None
    return ((job.finished_at or timezone.now()) - job.started_at).total_seconds()
