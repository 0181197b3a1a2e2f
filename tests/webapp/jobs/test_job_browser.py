"""The live page in a browser: it follows the job, draws its curves, and then rests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tests.conftest import missing
from tests.webapp.jobs.rows import make_whole_target
from tests.webapp.jobs.test_job_views import watched
from tests.webapp.world import World
from webapp.bases.models import BaseModel
from webapp.jobs import moves
from webapp.jobs.models import Job, JobEvent

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(
    live_server: Any, world: World, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A browser's page in which Eve is signed in."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing("chromium is not installed")
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    session = world.client("eve").cookies["sessionid"].value
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        context = browser.new_context(base_url=live_server.url)
        cookie = {"name": "sessionid", "value": session, "url": live_server.url}
        context.add_cookies([cookie])
        page = context.new_page()
        page.wrong = []
        page.on("pageerror", lambda problem: page.wrong.append(str(problem)))
        page.on(
            "console",
            lambda line: page.wrong.append(line.text) if line.type == "error" else None,
        )
        yield page
        browser.close()


def picture(page: Any, name: str) -> None:
    """Keep a screenshot where MOTHERTONGUE_TEST_PICTURES names a folder."""
    if folder := os.environ.get("MOTHERTONGUE_TEST_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_the_page_follows_its_job_and_rests_at_the_end(page: Any, world: World) -> None:
    job = watched(make_whole_target(world.workspace))
    page.goto(world.url("job", job.id))
    page.wait_for_selector("#curves canvas")
    page.click("#log summary")
    picture(page, "job-running")
    Job.objects.filter(id=job.id).update(step=77)
    page.wait_for_selector("text=Step 77 of 100", timeout=10_000)
    assert page.eval_on_selector("#log", "log => log.open")  # still open
    JobEvent.objects.create(
        job=job,
        epoch=1,
        time=job.started_at + timedelta(seconds=80),
        kind="evaluation",
        stage="continue_pretraining",
        step=77,
        payload={
            "target_bits_per_byte": 1.5,
            "samples": [{"prompt": "Habari?", "answer": "Njema sana"}],
        },
    )
    page.wait_for_selector("text=Njema sana", timeout=10_000)
    moves.finish_failed(job_id=job.id, epoch=1, cause="x", sentence="It is over.")
    page.wait_for_selector("text=It is over.", timeout=10_000)
    page.wait_for_timeout(2_500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4_500)
    assert not [url for url in asked if "/live/" in url]
    picture(page, "job-failed")
    assert not page.wrong


def test_the_plan_follows_the_questions(page: Any, world: World) -> None:
    target = make_whole_target(world.workspace)
    page.goto(f"{world.url('job-new')}?target={target.id}")
    assert page.locator("text=Learn to answer").count()
    picture(page, "job-new")
    page.check("text=To continue text")
    page.wait_for_selector('#plan h3:has-text("Learn to answer")', state="detached")
    page.click("#drawer > summary")
    # A field stands in a group, and a group in its stage: all are closed at first.
    page.locator("[name='continue_pretraining.learning_rate']").evaluate(
        "field => { for (let d = field.closest('details'); d;"
        " d = d.parentElement.closest('details')) d.open = true }"
    )
    page.fill("[name='continue_pretraining.learning_rate']", "7")
    page.get_by_role("button", name="Begin", exact=True).click()
    page.wait_for_selector("text=less than or equal to 0.1")
    picture(page, "job-new-wrong")
    page.fill("[name='continue_pretraining.learning_rate']", "0.001")
    page.get_by_role("button", name="Begin", exact=True).click()
    page.wait_for_url("**/jobs/*-*/")
    assert Job.objects.get().created_at <= timezone.now()
    picture(page, "job-waiting")
    page.goto(world.url("job-list"))
    picture(page, "job-list")
    page.goto(world.url("recipe-list"))
    picture(page, "recipe-list")
    wrong = [line for line in page.wrong if "422" not in line]
    assert not wrong


def test_polls_rest_while_the_page_is_hidden(page: Any, world: World) -> None:
    base = BaseModel.objects.create(
        workspace=world.workspace, name="b", origin="hub", address="a/b"
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(world.url("base", base.id))
    with page.expect_request("**/state/"):
        pass  # it asks while somebody looks
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")
    asked.clear()
    page.wait_for_timeout(7_000)
    assert not asked
