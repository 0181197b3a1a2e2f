from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from tests.webapp.jobs.rows import (
    make_dataset,
    make_host,
    make_job,
    make_target,
    make_whole_target,
)
from tests.webapp.world import World
from webapp.datasets.models import Kind
from webapp.jobs import moves
from webapp.jobs.models import Desired, Host, Job, JobEvent, JobStage, State
from webapp.jobs.proposal import Answers, situation_for
from webapp.recipes.catalogue import launchable
from webapp.recipes.services import clone_recipe

pytestmark = pytest.mark.django_db

SEES = {"alice": 200, "eve": 200, "vera": 200, "charlie": 404, "anonymous": 302}
ACTS = {"alice": 302, "eve": 302, "vera": 403, "charlie": 404, "anonymous": 302}


@pytest.fixture
def target(world: World) -> Any:
    return make_whole_target(world.workspace)


def watched(target: Any, **columns: Any) -> Job:
    """A running job with two measurements, the later step measured twice."""
    began = timezone.now() - timedelta(minutes=3)
    job = make_job(
        State.RUNNING,
        target=target,
        started_at=began,
        host=make_host(),
        stage="continue_pretraining",
        step=40,
        total=100,
        seconds_left=90,
        metrics={"bytes_per_second": 12_000, "tokens_per_second": 4_000},
        **columns,
    )
    before = {
        "bits_per_byte": {"target": 3.9, "protected": 2.1},
        "samples": [{"prompt": "Habari?", "answer": "xx"}],
    }
    JobStage.objects.create(
        job=job, index=0, name="prepare", state="finished", figures={"before": before}
    )
    JobStage.objects.create(
        job=job, index=1, name="continue_pretraining", state="running"
    )
    for step, figure, answer in ((20, 2.5, "Nz"), (40, 2.2, "Nzu"), (40, 2.0, "Nzuri")):
        JobEvent.objects.create(
            job=job,
            epoch=1,
            time=began + timedelta(seconds=step),
            kind="evaluation",
            stage="continue_pretraining",
            step=step,
            payload={
                "target_bits_per_byte": figure,
                "protected_bits_per_byte": 2.2,
                "samples": [{"prompt": "Habari?", "answer": answer}],
            },
        )
    return job


# --- Who may see and do what --------------------------------------------------


@pytest.mark.parametrize(("who", "status"), SEES.items())
@pytest.mark.parametrize("name", ["job", "job-live", "job-curves"])
def test_who_sees_a_job(
    world: World, target: Any, name: str, who: str, status: int
) -> None:
    job = watched(target)
    assert world.client(who).get(world.url(name, job.id)).status_code == status


@pytest.mark.parametrize(("who", "status"), SEES.items())
@pytest.mark.parametrize("name", ["job-list", "recipe-list"])
def test_who_sees_the_lists(world: World, name: str, who: str, status: int) -> None:
    assert world.client(who).get(world.url(name)).status_code == status


@pytest.mark.parametrize(("who", "status"), (SEES | {"vera": 403}).items())
@pytest.mark.parametrize("name", ["job-new", "job-plan"])
def test_who_sees_the_launch(
    world: World, target: Any, name: str, who: str, status: int
) -> None:
    answer = world.client(who).get(world.url(name), {"target": target.id})
    assert answer.status_code == status


@pytest.mark.parametrize(("who", "status"), ACTS.items())
@pytest.mark.parametrize("name", ["job-cancel", "job-pause"])
def test_who_acts_on_a_job(
    world: World, target: Any, name: str, who: str, status: int
) -> None:
    job = watched(target)
    assert world.client(who).post(world.url(name, job.id)).status_code == status
    job.refresh_from_db()
    acted = who in ("alice", "eve")
    assert (job.desired != Desired.RUN) == acted


@pytest.mark.parametrize(("who", "status"), ACTS.items())
def test_who_launches(world: World, target: Any, who: str, status: int) -> None:
    answer = world.client(who).post(world.url("job-new"), answers(target))
    assert answer.status_code == status
    assert Job.objects.count() == (who in ("alice", "eve"))


def test_a_job_of_another_workspace_is_not_there(world: World) -> None:
    elsewhere = make_job(State.RUNNING, target=make_target(world.elsewhere))
    alice = world.client("alice")
    for name in ("job", "job-live", "job-curves"):
        assert alice.get(world.url(name, elsewhere.id)).status_code == 404
    assert alice.post(world.url("job-cancel", elsewhere.id)).status_code == 404
    launch = alice.post(world.url("job-new"), answers(elsewhere.target))
    assert launch.status_code == 404


@pytest.mark.parametrize(
    "name", ["job-cancel", "job-pause", "job-resume", "job-retry", "job-control"]
)
def test_looking_at_an_action_does_nothing(
    world: World, target: Any, name: str
) -> None:
    job = watched(target)
    assert world.client("alice").get(world.url(name, job.id)).status_code == 405


# --- Launch -------------------------------------------------------------------


def answers(target: Any, **changes: Any) -> dict[str, Any]:
    """The questions as the browser sends them."""
    return {
        "target": str(target.id),
        "datasets": [str(row.id) for row in target.datasets.all()],
        "minutes": "7",
        "goal": "answer",
        "recipe": "default",
        "key": str(uuid4()),
    } | changes


@pytest.mark.parametrize("name", ["faster", "knows"])
def test_what_is_ticked_is_an_answer_of_its_own(
    world: World, target: Any, name: str
) -> None:
    eve = world.client("eve")
    eve.post(world.url("job-new"), answers(target))
    eve.post(world.url("job-new"), answers(target, **{name: "on"}))
    assert sorted(job.answers[name] for job in Job.objects.all()) == [False, True]
    for ticked in (False, True):
        given = Answers(**{name: ticked})
        assert getattr(situation_for(target, given)[1], name) is ticked


def test_the_plan_stands_on_the_page_before_launch(world: World, target: Any) -> None:
    page = world.client("eve").get(world.url("job-new"), {"target": target.id})
    text = page.content.decode()
    for words in ("What will happen", "Purason", "half a billion", "Kiswahili"):
        assert words in text
    assert 'name="continue_pretraining.learning_rate"' in text
    assert 'placeholder="0.001"' in text
    assert not Job.objects.exists()


def test_a_setting_without_effect_says_so(world: World, target: Any) -> None:
    eve, url = world.client("eve"), world.url("job-new")
    sent = answers(target, **{"continue_pretraining.lora_rank": "8"})
    why = "No effect now: it acts where “What is trained” is lora"
    for changes, warned in (
        ({}, True),
        ({"continue_pretraining.method": "lora"}, False),
    ):
        page = eve.get(url, sent | changes)
        fields = page.context["settings_form"].fields
        assert bool(fields["continue_pretraining.lora_rank"].no_effect) is warned
        assert (why in page.content.decode()) is warned
    assert not Job.objects.exists()


def test_a_launch_leads_to_its_job(world: World, target: Any) -> None:
    eve = world.client("eve")
    data = answers(target, **{"continue_pretraining.learning_rate": "0.002"})
    answer = eve.post(world.url("job-new"), data)
    job = Job.objects.get()
    assert answer.headers["Location"] == world.url("job", job.id)
    stages = {stage["stage"]: stage for stage in job.spec["stages"]}
    assert stages["continue_pretraining"]["learning_rate"] == 0.002
    assert (job.launched_by, job.state) == (world.eve, State.QUEUED)
    eve.post(world.url("job-new"), data)  # the button pressed twice
    assert Job.objects.count() == 1


def test_the_recommended_recipe_comes_first_and_can_be_refused(
    world: World, target: Any
) -> None:
    eve = world.client("eve")
    page = eve.get(world.url("job-new"), {"target": target.id}).content.decode()
    assert "Recommended: " in page and page.index("Recommended") < page.index(
        "What will"
    )
    asked = {"target": target.id, "recipe": "lora"}
    page = eve.get(world.url("job-new"), asked).content.decode()
    assert "You chose “Low-rank additions” instead" in page
    recommended = eve.get(world.url("job-new"), {"target": target.id})
    asked["recipe"] = recommended.context["recommended"].name
    page = eve.get(world.url("job-new"), asked).content.decode()
    assert "You chose" not in page, "it is the recommended one"
    eve.post(world.url("job-new"), answers(target, recipe="", control="on"))
    job = Job.objects.get()
    assert job.answers["control"] is True and job.recipe in launchable()
    page = eve.get(world.url("job", job.id)).content.decode()
    assert launchable()[job.recipe].title in page


def test_a_recipe_of_the_workspace_is_launched(world: World, target: Any) -> None:
    lora = launchable()["lora"]
    row = clone_recipe(workspace=world.workspace, recipe=lora)
    sent = answers(target, recipe=row.name)
    assert world.client("eve").post(world.url("job-new"), sent).status_code == 302
    job = Job.objects.get()
    assert job.recipe == row.name and job.answers["recipe_title"].endswith("our own")
    methods = {s["stage"]: s.get("method") for s in job.spec["stages"]}
    assert methods["continue_pretraining"] == "lora"


def test_a_recipe_that_lacks_something_says_what_to_add(
    world: World, target: Any
) -> None:
    sent = answers(target, recipe="uralic")
    answer = world.client("eve").post(world.url("job-new"), sent)
    assert answer.status_code == 422 and not Job.objects.exists()
    assert "text of related languages" in answer.content.decode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"minutes": "0"}, "greater than or equal to 0.2"),
        ({"minutes": "soon"}, "Enter a number"),
        ({"minutes": "nan"}, "Enter a number"),
        ({"goal": "fly"}, "not one of the available"),
        ({"datasets": [str(uuid4())]}, "not one of the available"),
        ({"continue_pretraining.learning_rate": "7"}, "less than or equal to 0.1"),
        ({"extend_vocabulary.method": "magic"}, "not one of the available"),
        ({"continue_pretraining.steps": "1.5"}, "Enter a whole number"),
        ({"key": "x"}, "UUID"),
    ],
)
def test_a_wrong_answer_is_said_at_its_field(
    world: World, target: Any, change: dict[str, str], words: str
) -> None:
    answer = world.client("eve").post(world.url("job-new"), answers(target, **change))
    assert answer.status_code == 422
    if "key" not in change:
        assert words in answer.content.decode()
    assert not Job.objects.exists()


def test_a_refusal_of_the_service_is_said_at_its_field(
    world: World, target: Any
) -> None:
    target.datasets.add(make_dataset(world.workspace, ready=False, name="maisha"))
    answer = world.client("eve").post(world.url("job-new"), answers(target))
    assert answer.status_code == 422
    assert "“maisha” is not ready" in answer.content.decode()


@pytest.mark.parametrize(
    "target_id", ["", "nonsense", "00000000-0000-4000-8000-000000000000"]
)
def test_a_target_that_is_not_there(world: World, target_id: str) -> None:
    answer = world.client("eve").post(world.url("job-new"), {"target": target_id})
    assert answer.status_code == (200 if not target_id else 404)


def test_without_a_target_one_is_chosen(world: World, target: Any) -> None:
    page = world.client("eve").get(world.url("job-new"), {"recipe": "lora"})
    assert f"?target={target.id}&amp;recipe=lora" in page.content.decode()


def test_the_plan_follows_the_answers(world: World, target: Any) -> None:
    eve, url = world.client("eve"), world.url("job-plan")
    usual = eve.get(url, answers(target)).content.decode()
    text = target.datasets.get(kind=Kind.MONOLINGUAL)
    alone = eve.get(url, answers(target, datasets=[str(text.id)])).content.decode()
    assert "Learn to answer" in usual
    assert "will not learn to answer" in alone
    wrong = eve.get(url, answers(target, minutes="-1")).content.decode()
    assert "The plan appears when" in wrong


@pytest.mark.parametrize("uuid", ["GPU-a,GPU-b", "GPU-a"])
def test_memory_is_that_of_each_gpu(world: World, target: Any, uuid: str) -> None:
    host = make_host()
    host.devices = [{"kind": "cuda", "name": "H", "memory_bytes": 10**11, "uuid": uuid}]
    host.save()
    text = world.client("eve").get(world.url("job-plan"), answers(target))
    several = "on each of 2 GPUs" in text.content.decode()
    assert several is ("," in uuid)


def test_an_unknown_recipe_shows_the_usual_one(world: World, target: Any) -> None:
    url = world.url("job-new")
    page = world.client("eve").get(url, {"target": target.id, "recipe": "<b>"})
    assert page.status_code == 200


# --- The live page ------------------------------------------------------------


def test_the_page_shows_how_the_job_stands(world: World, target: Any) -> None:
    job = watched(target)
    text = world.client("vera").get(world.url("job", job.id)).content.decode()
    for words in ("Learning on anvil", "Step 40 of 100", "1 min 30 s left", "2.000"):
        assert words in text
    assert "You can close this page" in text
    assert "job-cancel" not in text and 'id="cancel"' not in text  # Vera only looks
    assert text.index("Nzuri") < text.index(">Nz<")  # the newest answers first
    assert 'lang="sw" dir="auto"' in text


def heard(seconds_ago: float) -> None:
    """Every worker renewed its lease so long ago, and was seen last then."""
    moment = timezone.now() - timedelta(seconds=seconds_ago)
    Job.objects.update(lease_until=moment + timedelta(seconds=60))
    Host.objects.update(seen_at=moment)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (15, ["Learning on anvil", "1 min 30 s left"]),
        (30, ["Nothing is heard of anvil", "For 3", "After 60 seconds"]),
        (75, ["Nothing is heard of anvil", "The next free worker takes it up"]),
        (300, ["Nothing is heard of anvil", "For 5 min", "No worker is running."]),
    ],
)
def test_a_silent_worker_is_said(
    world: World, target: Any, seconds: int, words: list[str]
) -> None:
    job = watched(target, predictions={"seconds": 600})
    heard(seconds)
    client, silent = world.client("vera"), seconds > 20
    page, job_list, home = (
        client.get(address).content.decode()
        for address in (
            world.url("job", job.id),
            world.url("job-list"),
            world.url("workspace-home"),
        )
    )
    assert [word for word in words if word not in page] == []
    assert ("Learning on" in page) != silent
    for text in (page, job_list, home):
        assert (" left" in text) != silent
    for text in (job_list, home):
        assert ("nothing heard of its machine for" in text) == silent


def test_a_cancelled_job_of_a_silent_worker(world: World, target: Any) -> None:
    job = watched(target, desired=Desired.CANCEL)
    heard(30)
    text = world.client("vera").get(world.url("job", job.id)).content.decode()
    assert "After 60 seconds without a word it counts as cancelled" in text
    assert "half a minute" not in text


def note(job: Job, sentence: str, level: str) -> None:
    payload = {"sentence": sentence, "level": level}
    JobEvent.objects.create(
        job=job, epoch=1, time=timezone.now(), kind="note", payload=payload
    )


def test_what_a_run_warns_of_stands_on_its_page_unfolded(
    world: World, target: Any
) -> None:
    job = watched(target)
    for level in ("warning", "warning", "info"):
        note(job, f"The memory <was> full: {level}.", level)
    page = world.client("vera").get(world.url("job", job.id))
    assert page.context["warnings"] == ["The memory <was> full: warning."]
    text = page.content.decode()
    warning = text.index("The memory &lt;was&gt; full: warning.")
    assert warning < text.index('id="curves-title"') < text.index('id="log"')
    assert text.index("The memory &lt;was&gt; full: info.") > text.index('id="log"')


def test_an_empty_answer_is_no_answer(world: World, target: Any) -> None:
    job = watched(target)
    said = "(It says nothing.)"
    assert (
        said not in world.client("vera").get(world.url("job", job.id)).content.decode()
    )
    for event in JobEvent.objects.filter(kind="evaluation"):
        event.payload["samples"] = [{"prompt": "Habari?", "answer": ""}]
        event.save()
    assert said in world.client("vera").get(world.url("job", job.id)).content.decode()


def test_no_figure_is_promised_where_none_was_measured(
    world: World, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webapp.jobs.planning import expectations

    address = world.url("job-new") + f"?target={target.id}"
    for known, words in (
        ({"bits_per_byte": (1.0, 2.0)}, "Bits per byte after reading"),
        ({"characters_per_token": (1.5, 1.5)}, "Characters per token stay at 1.50"),
    ):
        found = dict(known), ""
        monkeypatch.setattr(expectations, "expect", lambda *_, found=found, **__: found)
        text = world.client("eve").get(address).content.decode()
        assert words in text
        assert ("Characters per token stay" in text) == (
            "characters_per_token" in known
        )


def test_a_job_that_takes_longer_than_predicted_says_so(
    world: World, target: Any
) -> None:
    job = watched(target, predictions={"seconds": 60})
    heard(1)
    client, words = world.client("vera"), "longer than was predicted"
    assert words not in client.get(world.url("job", job.id)).content.decode()
    Job.objects.update(seconds_left=None)
    assert words in client.get(world.url("job", job.id)).content.decode()


@pytest.mark.parametrize(
    ("state", "look"),
    [(State.RUNNING, "now"), (State.CANCELLED, "stopped"), (State.FAILED, "failed")],
)
def test_a_stage_runs_only_while_its_job_does(
    world: World, target: Any, state: str, look: str
) -> None:
    job = watched(target)
    ended = None if state == State.RUNNING else timezone.now()
    Job.objects.update(state=state, finished_at=ended)
    page = world.client("vera").get(world.url("job", job.id))
    assert [stage["look"] for stage in page.context["stages"]] == ["done", look]
    text = page.content.decode()
    assert ('aria-current="step"' in text) == (look == "now")
    assert ("Time so far" in text) == (look == "now")


def test_other_languages_of_the_report_are_shown(world: World, target: Any) -> None:
    job = watched(target)
    table = {tag: {"before": 3.25, "after": 2.125} for tag in ("sw", "en", "kk")}
    pages = []
    for tags in (("sw", "en"), ("sw", "en", "kk")):
        kept = {tag: table[tag] for tag in tags}
        Job.objects.update(report={"bits_per_byte_by_language": kept})
        pages.append(world.client("vera").get(world.url("job", job.id)))
    two, three = (answer.content.decode() for answer in pages)
    assert "by-language" not in two  # the figures above say as much
    assert "Kazakh" in three and "2.125" in three


def test_a_step_measured_twice_counts_once(world: World, target: Any) -> None:
    job = watched(target)
    curves = json.loads(
        world.client("vera").get(world.url("job-curves", job.id)).content
    )
    assert curves["target"] == [2.5, 2.0]
    assert len(curves["minutes"]) == len(curves["protected"]) == 2
    assert curves["base"] == {"target": 3.9, "protected": 2.1}
    assert curves["ended"] is False


def test_the_curve_of_sizes_stands_on_the_page(world: World, target: Any) -> None:
    job = watched(target)
    vera, url = world.client("vera"), world.url("job-curves", job.id)
    assert json.loads(vera.get(url).content)["sizes"] == []
    page = vera.get(world.url("job", job.id)).content.decode()
    assert 'aria-labelledby="sizes-title" hidden' in page and "chosen" not in page
    curve = [[0, 5.75, 0.8, 0.0], [256, 1.93, 2.4, 0.91], [512, 1.9, 2.45, 0.8]]
    figures = {"size_curve": curve, "added": 256}
    JobStage.objects.create(job=job, index=7, name="extend_vocabulary", figures=figures)
    sizes = json.loads(vera.get(url).content)["sizes"]
    assert [size["tokens_per_word"] for size in sizes] == [5.75, 1.93, 1.9]
    assert [size["chosen"] for size in sizes] == [False, True, False]
    page = vera.get(world.url("job", job.id)).content.decode()
    assert 'aria-labelledby="sizes-title" hidden' not in page
    assert page.count("chosen") == 1 and "5.75" in page and "0.91" in page


def test_two_sizes_are_no_curve(world: World, target: Any) -> None:
    job = watched(target)
    figures = {"size_curve": [[0, 5.75, 0.8, 0.0], [256, 1.93, 2.4, 0.9]], "added": 256}
    JobStage.objects.create(job=job, index=7, name="extend_vocabulary", figures=figures)
    vera = world.client("vera")
    assert json.loads(vera.get(world.url("job-curves", job.id)).content)["sizes"] == []
    page = vera.get(world.url("job", job.id)).content.decode()
    assert 'aria-labelledby="sizes-title" hidden' in page


def test_the_base_has_its_line_on_the_text_of_the_curves(
    world: World, target: Any
) -> None:
    job = watched(target)
    vera, url = world.client("vera"), world.url("job-curves", job.id)
    assert json.loads(vera.get(url).content)["base"]["target"] == 3.9  # an older run
    stage = job.stages.get(name="prepare")
    curves = {"target": 3.5, "protected": 2.0}
    stage.figures["before"]["validation_bits_per_byte"] = curves
    stage.save()
    assert json.loads(vera.get(url).content)["base"] == curves


def test_a_finished_job_shows_what_its_model_shows(world: World, target: Any) -> None:
    job = watched(target)
    page = world.client("vera").get(world.url("job", job.id)).content.decode()
    assert "<dd>2.000</dd>" in page and "<dd>1.625</dd>" not in page  # the last point
    job.report = {"bits_per_byte": {"target": {"before": 3.9, "after": 1.625}}}
    job.save()
    page = world.client("vera").get(world.url("job", job.id)).content.decode()
    assert "<dd>1.625</dd>" in page and "<dd>2.000</dd>" not in page


def test_a_stage_that_comes_twice_is_told_apart(world: World, target: Any) -> None:
    job = watched(target)
    JobStage.objects.create(job=job, index=2, name="continue_pretraining")
    event = job.events.filter(step=20).get()
    job.events.exclude(id=event.id).update(payload=event.payload | {"index": 1})
    JobEvent.objects.create(
        job=job,
        epoch=1,
        time=timezone.now(),
        kind="evaluation",
        stage="continue_pretraining",
        step=40,  # as in the first
        payload=event.payload | {"index": 2, "target_bits_per_byte": 1.5},
    )
    vera = world.client("vera")
    curves = json.loads(vera.get(world.url("job-curves", job.id)).content)
    assert curves["target"][-1] == 1.5 and len(curves["target"]) == 3
    assert curves["stages"][-2:] == ["Read 1", "Read 2"]
    page = vera.get(world.url("job", job.id)).content.decode()
    assert "Read 1" in page and "Read 2" in page
    ids = [part.partition('"')[0] for part in page.split('id="')[1:]]
    assert len(ids) == len(set(ids))


def test_the_fragment_is_the_page_without_its_frame(world: World, target: Any) -> None:
    job = watched(target)
    alice = world.client("alice")
    fragment = alice.get(world.url("job-live", job.id)).content.decode()
    assert "<html" not in fragment and 'id="live-state"' in fragment
    assert 'data-ended="no"' in fragment and 'id="cancel"' in fragment
    moves.finish_failed(
        job_id=job.id,
        epoch=1,
        cause="diverged",
        sentence="The loss became infinite.",
        hint="Launch again with a lower learning rate.",
    )
    fragment = alice.get(world.url("job-live", job.id)).content.decode()
    assert 'data-ended="yes"' in fragment and 'id="retry"' in fragment
    for words in ("The loss became infinite.", "lower learning rate"):
        assert words in fragment
    assert "Kept: the stages that were finished" in fragment
    retry, relaunch = 'class="button quiet" id="retry"', 'class="button" id="relaunch"'
    assert retry in fragment and relaunch in fragment  # again would end as before
    Job.objects.filter(id=job.id).update(retryable=True)
    again = alice.get(world.url("job-live", job.id)).content.decode()
    assert 'class="button" id="retry"' in again and relaunch not in again
    job.stages.update(state=JobStage.State.WAITING)
    nothing = alice.get(world.url("job-live", job.id)).content.decode()
    assert "No stage was finished" in nothing and "Kept:" not in nothing
    # Tidied after a week: nothing is promised that is not there.
    late = timezone.now() - timedelta(days=8)
    Job.objects.filter(id=job.id).update(finished_at=late)
    fragment = alice.get(world.url("job-live", job.id)).content.decode()
    assert "begins anew" in fragment and "Kept:" not in fragment


def test_a_waiting_job_says_why(world: World, target: Any) -> None:
    early, late = make_job(target=target), make_job(target=target)
    vera = world.client("vera")
    url = world.url("job", late.id)
    assert "no worker is running" in vera.get(url).content.decode()
    host = make_host()
    host.seen_at = timezone.now()
    host.save()
    assert "1 job is before it" in vera.get(url).content.decode()
    page = vera.get(world.url("job", early.id)).content.decode()
    assert "next to begin" in page
    # A paused job is passed over, and so is one for other machines.
    Job.objects.filter(id=early.id).update(desired=Desired.PAUSE)
    assert "next to begin" in vera.get(url).content.decode()
    Job.objects.filter(id=early.id).update(desired=Desired.RUN, queue="gpu")
    assert "next to begin" in vera.get(url).content.decode()


def test_a_paused_job_can_be_resumed_from_its_page(world: World, target: Any) -> None:
    job = make_job(target=target, desired=Desired.PAUSE)
    eve = world.client("eve")
    assert 'id="resume"' in eve.get(world.url("job", job.id)).content.decode()
    eve.post(world.url("job-resume", job.id))
    job.refresh_from_db()
    assert job.desired == Desired.RUN


def test_what_came_too_late_is_said(world: World, target: Any) -> None:
    job = make_job(State.SUCCEEDED, target=target, finished_at=timezone.now())
    eve = world.client("eve")
    answer = eve.post(world.url("job-cancel", job.id), follow=True)
    assert "has ended already" in answer.content.decode()


def test_text_of_a_model_is_shown_not_run(world: World, target: Any) -> None:
    job = watched(target)
    event = JobEvent.objects.filter(job=job, kind="evaluation").last()
    event.payload["samples"] = [{"prompt": "p", "answer": "<script>x</script>"}]
    event.save()
    text = world.client("vera").get(world.url("job", job.id)).content.decode()
    assert "<script>x" not in text and "&lt;script&gt;x" in text


# --- The list -----------------------------------------------------------------


def test_the_list_is_searched_filtered_and_sorted(world: World, target: Any) -> None:
    old = make_job(State.FAILED, target=target, sentence="The disk became full.")
    new = make_job(State.SUCCEEDED, target=target, recipe="lora")
    make_job(State.FAILED, target=make_target(world.elsewhere))
    vera, url = world.client("vera"), world.url("job-list")

    def shown(**query: str) -> list[Job]:
        return list(vera.get(url, query).context["page"])

    assert shown() == [new, old]
    assert shown(sort="oldest") == [old, new]
    assert shown(state="failed") == [old]
    assert shown(q="disk") == [old]
    assert shown(q="lora") == [new]
    assert shown(q=f"#{old.number}") == [old]
    assert shown(target=str(target.id)) == [new, old]
    assert shown(target=str(uuid4())) == []
    assert shown(state="nonsense", sort="nonsense", q="9" * 90) == []
    assert shown(page="nonsense") == [new, old]


def test_the_list_asks_as_much_for_many_as_for_few(
    world: World, target: Any, django_assert_num_queries: Any
) -> None:
    vera, url = world.client("vera"), world.url("job-list")
    make_job(target=target)
    vera.get(url)
    with CountQueries() as few:
        vera.get(url)
    for _ in range(20):
        make_job(State.FAILED, target=target, host=make_host(), launched_by=world.eve)
    with django_assert_num_queries(len(few)):
        vera.get(url)


def CountQueries() -> Any:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    return CaptureQueriesContext(connection)


def test_a_page_of_a_job_asks_a_fixed_number(
    world: World, target: Any, django_assert_max_num_queries: Any
) -> None:
    job = watched(target)
    vera = world.client("vera")
    vera.get(world.url("job", job.id))
    with django_assert_max_num_queries(14):
        vera.get(world.url("job-live", job.id))


def test_the_example_needs_an_editor(world: World) -> None:
    url = world.url("example-launch")
    assert world.client("vera").post(url).status_code == 403
    assert world.client("eve").get(url).status_code == 405


def test_a_wrong_setting_leaves_the_plan_in_sight(world: World, target: Any) -> None:
    data = answers(target, **{"continue_pretraining.learning_rate": "7"})
    text = world.client("eve").post(world.url("job-new"), data).content.decode()
    assert "Nothing was launched" in text and "What will happen" in text


@pytest.mark.parametrize("key", ["continue_pretraining", "continue_pretraining#2"])
def test_a_wrong_setting_of_a_repeated_stage_is_said_at_its_own_field(
    world: World, target: Any, key: str
) -> None:
    name = f"{key}.lora_plus_ratio"  # for low-rank additions, and both stages are full
    data = answers(target, recipe="eeve-short", **{name: "4"})
    page = world.client("eve").post(world.url("job-new"), data)
    assert page.status_code == 422 and page.context["refusal"] == ""
    assert list(page.context["settings_form"].errors) == [name]
    text = page.content.decode()
    assert f"({name}): is for low-rank additions" in text
    assert text.count("is for low-rank additions") == 1
    opened = re.findall(r'id="settings-\d+" open>\s*.*?class="mono.*?>(.*?)<', text)
    assert opened == [key]
