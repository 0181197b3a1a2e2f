from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from tests.webapp.jobs.rows import (
    TEXT,
    make_dataset,
    make_host,
    make_job,
    make_target,
    make_whole_target,
    write_base,
)
from training.spec import JobSpec
from webapp.core.errors import Refusal
from webapp.datasets.models import Kind
from webapp.datasets.services import delete_dataset
from webapp.jobs import services
from webapp.jobs.example import launch_example
from webapp.jobs.history import seconds_per_example
from webapp.jobs.inputs import gather, row_lengths
from webapp.jobs.models import Job, JobStage, State
from webapp.jobs.proposal import situation_for
from webapp.jobs.services import Answers, launch_job
from webapp.recipes.catalogue import launchable

pytestmark = pytest.mark.django_db


def test_a_launch_makes_a_whole_spec_that_waits() -> None:
    target = make_whole_target()
    job = launch_job(target=target, user=None, answers=Answers(minutes=7))
    assert (job.state, job.number, job.queue) == (State.QUEUED, 1, "cpu")
    spec = JobSpec.from_json(job.spec)
    assert (spec.job, spec.language, spec.base_name) == (str(job.id), "sw", "base")
    [corpus] = spec.data.target
    assert corpus.path.endswith("rows.jsonl") and corpus.sha256 == "a" * 64
    assert corpus.languages == ("sw",) and corpus.name == "monolingual"
    assert [len(corpora) for corpora in (spec.data.protected, spec.data.parallel)] == [
        1,
        1,
    ]
    names = [stage.stage for stage in spec.stages]
    assert names == list(job.stages.values_list("name", flat=True))
    assert "tune_instructions" in names and job.reasons and job.predictions["seconds"]


def test_prompts_are_the_persons_own_words() -> None:
    job = launch_job(target=make_whole_target(), user=None, answers=Answers())
    prompts = job.spec["prompts"]
    assert prompts[:3] == ["Swali la 0?", "Swali la 1?", "Swali la 2?"]
    assert len(prompts) == 5 and TEXT.startswith(prompts[3])


def test_jobs_are_numbered_within_their_workspace() -> None:
    target, other = make_whole_target(), make_whole_target()
    numbers = [
        launch_job(target=t, user=None, answers=Answers()).number
        for t in (target, target, other)
    ]
    assert numbers == [1, 2, 1]


def test_the_same_key_launches_once() -> None:
    target, key = make_whole_target(), uuid4()
    first = launch_job(target=target, user=None, answers=Answers(), key=key)
    assert launch_job(target=target, user=None, answers=Answers(), key=key) == first
    other = make_whole_target()
    elsewhere = launch_job(target=other, user=None, answers=Answers(), key=key)
    assert elsewhere.id != first.id and elsewhere.workspace == other.workspace


def test_two_presses_at_once_launch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    target, key = make_whole_target(), uuid4()
    propose, pressed = services.propose, []

    def planned_meanwhile(**asked: Any) -> Any:
        if not pressed:  # the other press is handled while this one is still planned
            pressed.append(1)
            pressed.append(
                launch_job(target=target, user=None, answers=Answers(), key=key)
            )
        return propose(**asked)

    monkeypatch.setattr(services, "propose", planned_meanwhile)
    job = launch_job(target=target, user=None, answers=Answers(), key=key)
    assert job == pressed[1] and Job.objects.count() == 1


@pytest.mark.parametrize(("hours", "queue"), [(None, "gpu"), (1, "gpu"), (48, "cpu")])
def test_a_gpu_that_is_long_gone_is_not_waited_for(
    hours: int | None, queue: str
) -> None:
    host = make_host()
    host.devices = [{"kind": "cuda", "name": "H", "memory_bytes": 10**11}]
    host.seen_at = hours and timezone.now() - timedelta(hours=hours)
    host.save()
    job = launch_job(target=make_whole_target(), user=None, answers=Answers())
    assert job.queue == queue


def test_only_the_chosen_datasets_are_learned_from() -> None:
    target = make_whole_target()
    text = target.datasets.get(kind=Kind.MONOLINGUAL)
    answers = Answers(datasets=[str(text.id)])
    job = launch_job(target=target, user=None, answers=answers)
    spec = JobSpec.from_json(job.spec)
    assert len(spec.data.target) == 1 and not spec.data.parallel
    assert "tune_instructions" not in [stage.stage for stage in spec.stages]
    assert spec.data.protected


def test_a_dataset_put_away_is_not_learned_from() -> None:
    target = make_whole_target()
    pairs = target.datasets.get(kind=Kind.PARALLEL)
    delete_dataset(dataset=pairs)
    delete_dataset(dataset=target.protected.get())
    spec = JobSpec.from_json(
        launch_job(target=target, user=None, answers=Answers()).spec
    )
    assert len(spec.data.target) == 1
    assert not spec.data.parallel and not spec.data.protected


def test_a_gpu_host_changes_the_queue() -> None:
    host = make_host()
    host.devices = [{"kind": "cuda", "name": "GPU", "memory_bytes": 10**11}]
    host.save()
    target = make_whole_target()
    assert launch_job(target=target, user=None, answers=Answers()).queue == "gpu"


def refused(target: object, **arguments: object) -> Refusal:
    defaults = {"user": None, "answers": Answers()}
    with pytest.raises(Refusal) as refusal:
        launch_job(target=target, **(defaults | arguments))
    assert not Job.objects.exists()
    assert refusal.value.sentence.endswith(".") or "must be" in refusal.value.sentence
    return refusal.value


URL = "MOTHERTONGUE_TRANSLATOR_URL"


def test_a_teacher_that_nobody_named_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(URL, raising=False)
    host = make_host()
    host.seen_at = timezone.now() - timedelta(hours=48)
    host.has_service = True  # gone
    host.save()
    sentence = refused(make_whole_target(), recipe="ultralink").sentence
    assert "UltraLink" in sentence and URL in sentence
    asked = {"tune_instructions": {"translated_rows": 5}}
    assert URL in refused(make_whole_target(), overrides=asked).sentence
    asked["tune_instructions"]["translator"] = "model"
    job = launch_job(
        target=make_whole_target(), user=None, answers=Answers(), overrides=asked
    )
    assert not job.needs_service


@pytest.mark.parametrize("there", ["host", "here"])
def test_a_teacher_makes_up_for_questions_that_there_are_not(
    monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    monkeypatch.delenv(URL, raising=False)
    host = make_host()
    host.has_service = there == "host"
    host.save()
    if there == "here":  # as `manage.py adapt` finds it
        monkeypatch.setenv(URL, "http://127.0.0.1:8080/v1")
    target = make_whole_target()
    text = target.datasets.get(kind=Kind.MONOLINGUAL)
    answers = Answers(datasets=[str(text.id)])
    job = launch_job(target=target, user=None, answers=answers, recipe="ultralink")
    [tuning] = [s for s in job.spec["stages"] if s["stage"] == "tune_instructions"]
    assert tuning["invented_conversations"] == 1000
    assert job.needs_service


def test_nothing_to_learn_from_is_refused() -> None:
    assert refused(make_target()).field == "datasets"


def test_too_little_text_is_refused() -> None:
    target = make_target()
    target.datasets.add(make_dataset(target.workspace, characters=800))
    assert "800 characters" in refused(target).sentence


def test_answering_needs_examples() -> None:
    target = make_target()
    target.datasets.add(make_dataset(target.workspace))
    assert refused(target, recipe="instructions-only").field == "datasets"
    target.datasets.add(make_dataset(target.workspace, Kind.INSTRUCTIONS))
    launch_job(target=target, user=None, answers=Answers(), recipe="instructions-only")


def test_a_version_that_is_not_ready_is_refused_by_name() -> None:
    target = make_whole_target()
    target.datasets.add(make_dataset(target.workspace, ready=False, name="maisha"))
    assert "“maisha”" in refused(target).sentence


def test_a_base_that_is_not_ready_is_refused() -> None:
    target = make_whole_target()
    target.base.state = "waiting"
    target.base.save()
    assert refused(target).field == "target"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"recipe": "nonsense"}, "recipe"),
        ({"answers": Answers(goal="nonsense")}, "goal"),
        ({"answers": Answers(minutes=0)}, "minutes"),
        ({"answers": Answers(minutes=float("nan"))}, "minutes"),
        (
            {"overrides": {"continue_pretraining": {"lora_rank": 0}}},
            "continue_pretraining.lora_rank",
        ),
        ({"overrides": {"merge": {"tolerance": "wide"}}}, "merge.tolerance"),
        ({"overrides": {"extend_vocabulary": {"initialisation": "omp"}}}, "donor"),
    ],
)
def test_what_is_impossible_is_refused_at_its_field(
    arguments: dict, field: str
) -> None:
    assert refused(make_whole_target(), **arguments).field == field


def test_a_control_repeats_the_job_without_new_pieces() -> None:
    overrides = {
        "extend_vocabulary": {"new_tokens": 64},
        "continue_pretraining": {"lora_rank": 8},
    }
    job = launch_job(
        target=make_whole_target(),
        user=None,
        answers=Answers(minutes=3, goal="translate"),
        overrides=overrides,
    )
    control = services.launch_control(job=job, user=None)
    spec = JobSpec.from_json(control.spec)
    methods = {stage.stage: getattr(stage, "method", "") for stage in spec.stages}
    assert methods["extend_vocabulary"] == "keep"
    assert control.answers["minutes"] == 3 and control.answers["goal"] == "translate"
    assert control.recipe == "keep-tokenizer"


@pytest.mark.parametrize(
    ("verb", "possible"),
    [
        (services.cancel_job, {"queued", "claimed", "running", "stopping"}),
        (services.pause_job, {"queued", "claimed", "running", "stopping"}),
        (services.retry_job, {"failed", "cancelled"}),
        (services.resume_job, set()),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(verb, possible: set[str]) -> None:
    for state in State:
        job = make_job(state)
        if state in possible:
            verb(job=job)
        else:
            with pytest.raises(Refusal):
                verb(job=job)


def test_a_paused_job_can_be_resumed() -> None:
    job = make_job(State.RUNNING)
    services.pause_job(job=job)
    services.resume_job(job=job)
    job.refresh_from_db()
    assert job.desired == "run"


def test_the_example_is_made_once(tmp_path: Path, settings) -> None:
    settings.MEDIA_ROOT = settings.FILES = tmp_path / "files"
    settings.DATA = tmp_path
    workspace = make_target().workspace
    if not (settings.SAMPLES / "base-en" / "model.safetensors").is_file():
        with pytest.raises(Refusal):
            launch_example(workspace=workspace, user=None)
        return
    first = launch_example(workspace=workspace, user=None)
    assert launch_example(workspace=workspace, user=None) == first
    services.cancel_job(job=first)
    again = launch_example(workspace=workspace, user=None)
    assert first.target == again.target and first.id != again.id
    spec = JobSpec.from_json(first.spec)
    assert spec.data.target[0].path and spec.data.protected and spec.data.parallel
    assert [stage.stage for stage in spec.stages][3] == "tune_instructions"


def finished_job(**more: Any) -> Job:
    """A job whose stages ended as a run would have left them."""
    job = launch_job(
        target=make_whole_target(),
        user=None,
        answers=Answers(minutes=3),
        overrides={"continue_pretraining": {"lora_rank": 8}},
        more=more,
    )
    job.stages.filter(name="continue_pretraining").update(
        figures={"passes": 3.25, "steps": 70}
    )
    job.stages.filter(name="tune_instructions").update(figures={"steps": 40})
    Job.objects.filter(id=job.id).update(state=State.SUCCEEDED)
    job.refresh_from_db()
    return job


def test_a_control_reads_as_many_bytes_as_its_job_did() -> None:
    job = finished_job()
    control = services.launch_control(job=job, user=None)
    stages = {s.stage: s for s in JobSpec.from_json(control.spec).stages}
    reading = stages["continue_pretraining"]
    assert (reading.epochs, reading.steps) == (3.25, 0)
    assert reading.minutes > 10_000  # the text ends it, not the clock
    # 3.25 passes over some kilobytes, and the few minutes of the other stages.
    assert 0 < control.predictions["seconds"] < 10 * 60
    assert reading.lora_rank == 8
    assert stages["tune_instructions"].steps == 40
    assert stages["extend_vocabulary"].method == "keep"
    assert control.answers["control_of_number"] == job.number
    assert services.launch_control(job=job, user=None) == control  # once


def test_a_control_is_launched_where_it_was_wished() -> None:
    wished, plain = finished_job(control=True), finished_job()
    assert services.launch_wanted_control(job_id=plain.id) is None
    control = services.launch_wanted_control(job_id=wished.id)
    assert control and control.answers["control_of"] == str(wished.id)
    assert not control.answers.get("control")  # no control of a control
    Job.objects.filter(id=wished.id).update(state=State.FAILED)
    assert services.launch_wanted_control(job_id=wished.id) is None


def test_without_a_recipe_the_adviser_chooses() -> None:
    target = make_whole_target()
    job = launch_job(target=target, user=None, answers=Answers(), recipe="")
    assert job.answers["recipe_title"]
    assert job.recipe in launchable()
    target.datasets.remove(target.datasets.get(kind=Kind.MONOLINGUAL))
    job = launch_job(target=target, user=None, answers=Answers(), recipe="")
    assert job.recipe == "instructions-only"


def test_what_only_new_pieces_need_is_no_part_of_a_control() -> None:
    target = make_whole_target()
    job = launch_job(target=target, user=None, answers=Answers(), recipe="eeve")
    reading = [s for s in job.stages.all() if s.name == "continue_pretraining"]
    assert len(reading) == 7
    for stage in reading:
        stage.figures = {"passes": 0.5}
        stage.save()
    control = services.launch_control(job=job, user=None)
    stages = JobSpec.from_json(control.spec).stages
    kept = [s for s in stages if s.stage == "continue_pretraining"]
    assert [s.trains for s in kept] == ["output_rows", "everything", "everything"]
    assert sum(s.epochs for s in kept) == pytest.approx(7 * 0.5)  # as much as the job
    job = launch_job(
        target=target, user=None, answers=Answers(), recipe="active-forgetting"
    )
    control = services.launch_control(job=job, user=None)
    (stage,) = (
        s
        for s in JobSpec.from_json(control.spec).stages
        if s.stage == "continue_pretraining"
    )
    assert stage.forget_every_steps == 0


def test_the_speed_of_the_newest_tuning_on_the_base_is_known() -> None:
    target = make_whole_target()
    assert seconds_per_example(target.base_id) == 0
    for number, seconds in enumerate((4.0, 0.8, 9.9)):
        job = launch_job(target=target, user=None, answers=Answers())
        stage = job.stages.get(name="tune_instructions")
        stage.figures = {"seconds_per_step": seconds}
        stage.state = JobStage.State.RUNNING if number == 2 else JobStage.State.FINISHED
        stage.save()
        started = timezone.now() + timedelta(minutes=number)
        Job.objects.filter(id=job.id).update(started_at=started)
    assert seconds_per_example(target.base_id) == pytest.approx(0.8 / 16)
    assert seconds_per_example(make_whole_target().base_id) == 0, "another base"


def test_how_long_the_rows_are_is_known_in_tokens_of_the_base(tmp_path: Path) -> None:
    target = make_whole_target()
    target.base.folder = str(write_base(tmp_path / "base"))  # a token is a byte
    row = {"messages": [{"role": "user", "content": "ää"}]}
    for dataset in target.datasets.filter(kind=Kind.INSTRUCTIONS):
        dataset.languages = ["en", target.language]
        dataset.save()
        dataset.versions.update(preview=[row], statistics={"longest": 50})
    known = {rows.role: rows for rows in row_lengths(target, gather(target))}
    assert known["instructions"].longest == 100
    assert known["instructions"].taught == 0.5
    # Read before the longest row was kept: what the histogram allows.
    bars = {"lengths": [{"from": 8, "to": 15, "documents": 3}]}
    target.datasets.get(kind=Kind.INSTRUCTIONS).versions.update(statistics=bars)
    known = {rows.role: rows for rows in row_lengths(target, gather(target))}
    assert known["instructions"].longest == 30


def test_rows_that_come_again_are_no_more_examples() -> None:
    target = make_whole_target()
    before = situation_for(target, Answers())[1]
    instructions = target.datasets.get(kind=Kind.INSTRUCTIONS).versions.get()
    many = instructions.documents + 38
    instructions.documents = many
    instructions.statistics = instructions.statistics | {"duplicates": 38}
    instructions.save()
    after = situation_for(target, Answers())[1]
    assert after.instruction_rows == before.instruction_rows == many - 38
