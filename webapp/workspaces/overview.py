"""The home page of a workspace: what goes on, what can be done next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.datasets.models import Dataset, DatasetVersion
from webapp.jobs.models import ALIVE, HELD, Host, Job, State
from webapp.models.selectors import read_report
from webapp.targets.models import LanguageTarget
from webapp.targets.selectors import newest_versions
from webapp.targets.specimens import specimen
from webapp.workspaces.models import Workspace

CARDS = 12


@dataclass(frozen=True)
class Card:
    """A target as a picture of its language."""

    target: LanguageTarget
    specimen: str
    jobs: int
    before: float | None  # bits per byte of the base
    best: float | None  # the least bits per byte of any job
    best_job: Job | None
    live: Job | None  # the one at work, else the next to begin
    more: int  # jobs beside it that have not ended
    failed: Job | None  # the newest job, where it failed
    pieces_before: range  # of four words, under the base and under the best job
    pieces_after: range


def cards(workspace: Workspace) -> list[Card]:
    """The newest targets with their jobs, in four queries."""
    targets = list(
        LanguageTarget.objects.filter(workspace=workspace, deleted_at=None)
        .select_related("base")
        .prefetch_related("datasets")[:CARDS]
    )
    jobs: dict[Any, list[Job]] = {target.id: [] for target in targets}
    for job in Job.objects.filter(target__in=targets).order_by("-number"):
        jobs[job.target_id].append(job)
    texts = _texts(targets)
    return [_card(target, jobs[target.id], texts) for target in targets]


def _card(
    target: LanguageTarget, jobs: list[Job], texts: dict[Any, DatasetVersion]
) -> Card:
    scored = [
        (after, job) for job in jobs if (after := _bits(job, "after")) is not None
    ]
    best, best_job = min(scored, key=lambda pair: pair[0], default=(None, None))
    newest = jobs[0] if jobs else None
    alive = [job for job in reversed(jobs) if job.state in ALIVE]
    at_work = [job for job in alive if job.state in HELD]
    return Card(
        target=target,
        specimen=specimen(
            [texts[d.id] for d in target.datasets.all() if d.id in texts],
            target.language,
        ),
        jobs=len(jobs),
        before=_bits(best_job, "before") if best_job else None,
        best=best,
        best_job=best_job,
        live=next(iter([*at_work, *alive]), None),
        more=len(alive[1:]),
        failed=newest if newest and newest.state == State.FAILED else None,
        pieces_before=_pieces(best_job, "before"),
        pieces_after=_pieces(best_job, "after"),
    )


def _bits(job: Job, when: str) -> float | None:
    """From the job's report: bits_per_byte.target.before or .after."""
    return read_report(job.report)["target"][when]


def _pieces(job: Job | None, when: str) -> range:
    """From the job's report: tokenizer.before or .after, tokens_per_word, times four."""
    figures = read_report(job.report)["tokenizer"][when] if job else {}
    return range(min(60, round(4 * (figures.get("tokens_per_word") or 0))))


def _texts(targets: list[LanguageTarget]) -> dict[Any, DatasetVersion]:
    """The newest ready version of each dataset that is learned from, by dataset."""
    datasets = Dataset.objects.filter(targets__in=targets).distinct()
    return {version.dataset_id: version for version in newest_versions(datasets)}


def recent_datasets(workspace: Workspace) -> list[Dataset]:
    """The newest five."""
    return list(Dataset.objects.filter(workspace=workspace, deleted_at=None)[:5])


def busy_hosts(workspace: Workspace) -> list[Host]:
    """Machines that work for this workspace now."""
    return list(
        Host.objects.filter(jobs__workspace=workspace, jobs__state__in=ALIVE).distinct()
    )
