"""What people do with jobs: launch, cancel, pause, resume, retry."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4, uuid5

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from training.spec import JobSpec, Resources, uses_service
from webapp.accounts.models import User
from webapp.core.errors import Refusal
from webapp.jobs import moves
from webapp.jobs.control import control_recipe
from webapp.jobs.inputs import known_devices, prompts
from webapp.jobs.models import Job, JobStage, State
from webapp.jobs.planning.plan import Overrides
from webapp.jobs.proposal import Answers, Proposal, propose
from webapp.models.models import Model
from webapp.recipes.catalogue import FIRST, recipes
from webapp.recipes.recipe import Recipe
from webapp.targets.models import LanguageTarget
from webapp.workspaces.models import Workspace

PART = "part-of-the-way"


def launch_job(
    *,
    target: LanguageTarget,
    user: User | None,
    answers: Answers,
    recipe: str | Recipe = FIRST,
    overrides: Overrides | None = None,
    key: UUID | None = None,
    more: Mapping[str, Any] | None = None,
) -> Job:
    """Make the job and hand it to the workers. An empty recipe asks the adviser.

    The same `key` launches once: a second call returns the job of the first. `more` is
    kept with the answers: {"control": True} asks for a control when it has succeeded.
    """
    if known := _launched(key, target):
        return known
    proposal = propose(
        target=target, answers=answers, recipe=recipe, overrides=overrides
    )
    kept = {"overrides": overrides or {}} | dict(more or {})
    return _enqueue(target, user, answers, proposal, kept, key)


def _enqueue(
    target: LanguageTarget,
    user: User | None,
    answers: Answers,
    proposal: Proposal,
    more: Mapping[str, Any],
    key: UUID | None = None,
) -> Job:
    """Make the job of a proposal, once for a key."""
    taken = not key or Job.objects.filter(id=key).exists()
    id = uuid4() if taken or not key else key
    kept = answers.as_dict() | dict(more)
    with transaction.atomic():
        Workspace.objects.select_for_update().get(id=target.workspace_id)
        if known := _launched(key, target):  # a second press was quicker
            return known
        spec = _spec(id, target, proposal, answers)
        job = _create(spec, target, proposal, kept, user)
        moves.submit(job_id=job.id)
    job.refresh_from_db()
    return job


def _create(
    spec: JobSpec,
    target: LanguageTarget,
    proposal: Proposal,
    answers: dict[str, Any],
    user: User | None,
) -> Job:
    plan = proposal.plan
    job = Job.objects.create(
        id=UUID(spec.job),
        workspace_id=target.workspace_id,
        number=_next_number(target.workspace_id),
        target=target,
        recipe=proposal.recipe.name,
        answers=answers | {"recipe_title": proposal.recipe.title},
        spec=spec.as_json(),
        reasons=plan.reasons,
        predictions=plan.predictions,
        launched_by=user,
        queue="gpu" if _has_gpu() else "cpu",
        needs_service=uses_service(plan.stages),
    )
    JobStage.objects.bulk_create(
        JobStage(job=job, index=index, name=stage.stage)
        for index, stage in enumerate(plan.stages)
    )
    return job


def _launched(key: UUID | None, target: LanguageTarget) -> Job | None:
    """The job that this key has launched already."""
    return Job.objects.filter(id=key, target=target).first() if key else None


def launch_control(*, job: Job, user: User | None) -> Job:
    """The same job without new pieces over equally many bytes, to compare with.

    A second call returns the job of the first.
    """
    recipe, overrides = control_recipe(job)
    return launch_job(
        target=job.target,
        user=user,
        answers=_answers_of(job),
        recipe=recipe,
        overrides=overrides,
        key=uuid5(job.id, "control"),
        more={"control_of": str(job.id), "control_of_number": job.number},
    )


def launch_part(*, model: Model, weight: float, user: User | None) -> Job:
    """A small job that goes from an adapted model part of the way back to its base.

    Nothing is learned: base + weight * (adapted - base), measured on the same held-out
    text as the model's own job.
    """
    job = model.job
    target = job.target
    overrides = {"merge_models": {"weight": weight}}
    recipe = dataclasses.replace(recipes()[PART], needs=())
    answers = dataclasses.replace(_answers_of(job), resources={})
    proposal = propose(
        target=target, answers=answers, recipe=recipe, overrides=overrides
    )
    proposal.inputs.resources = Resources(models=(job.spec["base"],))
    proposal = dataclasses.replace(proposal, base=(model.folder, model.name))
    more = {"overrides": overrides, "part_of": str(model.id), "weight": weight}
    return _enqueue(target, user, answers, proposal, more)


def launch_wanted_control(*, job_id: UUID) -> Job | None:
    """The control that was asked for at the launch, once its job has succeeded."""
    job = Job.objects.select_related("target__base", "workspace").get(id=job_id)
    if job.state != State.SUCCEEDED or not job.answers.get("control"):
        return None
    return launch_control(job=job, user=job.launched_by)


def cancel_job(*, job: Job) -> None:
    """End it; what it has finished so far stays on disk for a retry."""
    if not moves.request_cancel(job_id=job.id):
        raise Refusal(_("The job has ended already."))


def pause_job(*, job: Job) -> None:
    """Stop after a checkpoint and wait until somebody resumes it."""
    if not moves.request_pause(job_id=job.id):
        raise Refusal(_("Only a job that waits or runs can be paused."))


def resume_job(*, job: Job) -> None:
    """Take a paused job up again from its newest checkpoint."""
    if not moves.request_run(job_id=job.id):
        raise Refusal(_("Only a paused job can be resumed."))


def retry_job(*, job: Job) -> None:
    """Queue a failed or cancelled job again; it goes on from its newest checkpoint."""
    if not moves.retry(job_id=job.id, epoch=job.epoch):
        raise Refusal(_("Only a failed or cancelled job can be tried again."))


def _answers_of(job: Job) -> Answers:
    """The answers a job was launched with."""
    kept = {
        name: job.answers[name] for name in Answers().as_dict() if name in job.answers
    }
    return Answers(**kept)


def _spec(
    id: UUID, target: LanguageTarget, proposal: Proposal, answers: Answers
) -> JobSpec:
    base, base_name = proposal.base or (target.base.folder, target.base.name)
    spec = JobSpec(
        job=str(id),
        language=target.language,
        base=base,
        base_name=base_name,
        data=proposal.inputs.data(),
        resources=proposal.inputs.resources,
        stages=proposal.plan.stages,
        protected_language=target.protected_language,
        prompts=prompts(proposal.inputs),
        seed=answers.seed,
    )
    return JobSpec.from_json(spec.as_json())


def _next_number(workspace_id: UUID) -> int:
    jobs = Job.objects.filter(workspace_id=workspace_id)
    return (jobs.aggregate(Max("number"))["number__max"] or 0) + 1


def _has_gpu() -> bool:
    return any(device.get("kind") == "cuda" for device in known_devices())
