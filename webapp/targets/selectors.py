"""What pages ask about language targets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext as _

from webapp.core import languages
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.jobs.models import ALIVE, Job, State
from webapp.models.models import Model
from webapp.models.selectors import read_report
from webapp.targets.models import LanguageTarget
from webapp.workspaces.models import Workspace

SORTS = {"newest": "-created_at", "oldest": "created_at", "language": "language"}
READY = DatasetVersion.State.READY
# A rise in bits per byte of the protected language that is worth a word: jobs with
# replayed text are expected to stay below 5 %.
FORGOTTEN = 0.05


@dataclass
class Result:
    """A job as a row of the leaderboard; figures are None where it has no report."""

    job: Job
    model: Model | None
    target: dict[str, float | None]
    protected: dict[str, float | None]
    target_change: float | None  # share: -0.5 is half as many bits
    protected_change: float | None
    characters_per_token: float | None
    seconds: float | None
    best: bool = False


def search_targets(
    targets: QuerySet[LanguageTarget], *, q: str = "", sort: str = "newest"
) -> QuerySet[LanguageTarget]:
    """Targets with their base and number of jobs, in one query."""
    if q:
        tags = [found.tag for found in languages.find(q)]
        targets = targets.filter(Q(language__in=tags) | Q(base__name__icontains=q))
    return (
        targets.select_related("base")
        .annotate(job_count=Count("jobs", distinct=True))
        .order_by(SORTS.get(sort, "-created_at"), "id")
    )


def best_bits(targets: Iterable[LanguageTarget]) -> dict[Any, dict[str, float | None]]:
    """The result with the least bits per byte of each target, in one query."""
    best: dict[Any, dict[str, float | None]] = {}
    jobs = Job.objects.filter(target__in=list(targets), state=State.SUCCEEDED)
    for target_id, report in jobs.values_list("target_id", "report"):
        bits = read_report(report)["target"]
        held = best.get(target_id)
        if bits["after"] is not None and (not held or bits["after"] < held["after"]):
            best[target_id] = bits
    return best


def results(target: LanguageTarget) -> list[Result]:
    """All jobs of a target side by side, newest first, in one query; the best marked."""
    jobs = target.jobs.select_related("model").defer("spec", "reasons", "predictions")
    rows = [_result(job) for job in jobs.order_by("-number")]
    scored = [row for row in rows if row.target["after"] is not None]
    if len(scored) > 1:
        min(scored, key=lambda row: row.target["after"] or 0.0).best = True
    return rows


def _result(job: Job) -> Result:
    told = read_report(job.report)
    model = getattr(job, "model", None)
    return Result(
        job=job,
        model=model if model and model.withdrawn_at is None else None,
        target=told["target"],
        protected=told["protected"],
        target_change=change(told["target"]),
        protected_change=change(told["protected"]),
        characters_per_token=told["tokenizer"]["after"].get("characters_per_token"),
        seconds=told["seconds"],
    )


def change(bits: dict[str, float | None]) -> float | None:
    """How much a figure rose, as a share of what it was; None where it is not known."""
    if bits["before"] and bits["after"] is not None:
        return bits["after"] / bits["before"] - 1
    return None


def newest_versions(datasets: QuerySet[Dataset]) -> list[DatasetVersion]:
    """The newest ready version of each dataset, the newest dataset's first."""
    newest = DatasetVersion.objects.filter(dataset=OuterRef("dataset"), state=READY)
    return list(
        DatasetVersion.objects.filter(
            dataset__in=datasets.filter(deleted_at=None),
            id=Subquery(newest.order_by("-number").values("id")[:1]),
        )
        .select_related("dataset")
        .order_by("-dataset__created_at")
    )


def ready_datasets(workspace: Workspace) -> QuerySet[Dataset]:
    """Datasets that a job could learn from, each with the newest version's size."""
    ready = DatasetVersion.objects.filter(dataset=OuterRef("pk"), state=READY)
    newest = ready.order_by("-number")
    return (
        Dataset.objects.filter(Exists(ready), workspace=workspace, deleted_at=None)
        .annotate(
            characters=Subquery(newest.values("characters")[:1]),
            documents=Subquery(newest.values("documents")[:1]),
        )
        .order_by("kind", "name")
    )


def next_step(
    learned: list[DatasetVersion], rows: list[Result], language: str
) -> dict[str, Any]:
    """What to do now, and why: {"kind", "sentence", "job", "model"}.

    `job` is the one to look at, `model` the best one to talk with; each may be None.
    """
    name = languages.describe(language).name
    live = next((row.job for row in rows if row.job.state in ALIVE), None)
    best = next((row for row in rows if row.best), None)
    done = best or next((r for r in rows if r.target["after"] is not None), None)
    if not learned:
        kind = "text"
        sentence = _("Add text in %(language)s: without any there is nothing to learn.")
    elif live:
        kind = "watch"
        sentence = _("A job is on its way. You can watch it, or come back later.")
    elif not rows:
        kind = "adapt"
        sentence = _(
            "The text is ready. Five questions, then the model begins to learn."
        )
    elif rows[0].job.state == State.FAILED:
        kind = "failed"
        sentence = _("The last job failed. Its page says why, and what may help.")
    elif done and (done.protected_change or 0) > FORGOTTEN:
        kind = "protect"
        sentence = _(
            "The best job forgot some of the protected language. Protect more text of it, "
            "or learn for a shorter time."
        )
    else:
        kind = "again"
        sentence = _("Talk with the model. More text, or more time, makes it better.")
    job = rows[0].job if kind == "failed" else live
    model = done.model if done else None
    sentence %= {"language": name}
    return {"kind": kind, "sentence": sentence, "job": job, "model": model}
