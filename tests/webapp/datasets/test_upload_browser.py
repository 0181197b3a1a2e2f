"""Sending files from a real browser: breaks, a reload, pausing, refusals."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from tests.conftest import missing
from tests.webapp.world import World
from webapp.core import files
from webapp.datasets import services, uploads
from webapp.datasets.models import Dataset, Upload
from webapp.datasets.selectors import newest

pytestmark = pytest.mark.browser
CHUNK = 64 * 1024
CONTENT = ("Hapo zamani za kale " * 10 + "\n").encode() * 5_000  # 1 MB


@pytest.fixture
def page(
    live_server: Any, world: World, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The page of a new dataset, signed in as Eve."""
    sync_api = pytest.importorskip("playwright.sync_api")
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    monkeypatch.setattr(uploads, "CHUNK_BYTES", CHUNK)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing("chromium is not installed")
    session = world.client("eve").cookies[django_settings.SESSION_COOKIE_NAME].value
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        context = browser.new_context(base_url=live_server.url)
        context.add_cookies(
            [{"name": "sessionid", "value": session, "url": live_server.url}]
        )
        opened = context.new_page()
        opened.goto(world.url("dataset-new"))
        yield opened
        browser.close()


def choose(page: Any, *paths: Path) -> None:
    page.set_input_files("#id_files", [str(path) for path in paths])


def written(folder: Path, name: str, content: bytes = CONTENT) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_a_broken_connection_and_a_reload(
    page: Any, world: World, tmp_path: Path
) -> None:
    path = written(tmp_path, "hadithi.txt")
    patches: list[int] = []
    breaking = {3, 4}

    def watch(route: Any) -> None:
        if route.request.method != "PATCH":
            return route.continue_()
        patches.append(int(route.request.headers["upload-offset"]))
        if len(patches) in breaking:
            return route.abort("connectionreset")
        if len(patches) == 9:  # the page goes away here
            return None
        return route.continue_()

    page.route("**/uploads/**", watch)
    choose(page, path)
    page.get_by_text("The connection broke").wait_for()
    while len(patches) < 9:
        page.wait_for_timeout(50)
    page.reload()
    choose(page, path)
    page.get_by_text("· arrived").wait_for()
    # Every piece was acknowledged once; only the broken ones were sent again.
    assert sorted(set(patches)) == list(range(0, len(CONTENT), CHUNK))
    assert len(patches) == len(set(patches)) + 3
    page.fill("[name=language]", "Kiswahili")
    page.get_by_role("button", name="Make the dataset").click()
    page.wait_for_url("**/datasets/*-*/")
    upload = Dataset.objects.get().versions.get().uploads.get()
    with files.as_local(upload.file) as stored:
        assert stored.read_bytes() == CONTENT
    assert Upload.objects.count() == 1


def test_several_files_one_refused_one_removed(
    page: Any, world: World, tmp_path: Path
) -> None:
    choose(
        page,
        written(tmp_path, "a.txt", b"maneno"),
        written(tmp_path, "b.docx", b"PK"),
        written(tmp_path, "c.txt", b"mengine"),
        written(tmp_path, "d.txt", b"%PDF-1.4"),
    )
    stranger = page.locator(".upload", has_text="d.txt is a PDF")
    stranger.wait_for()
    assert not stranger.get_by_role("button", name="Go on").is_visible()
    stranger.get_by_role("button", name="Remove").click()
    page.get_by_text("b.docx is a document of a word processor").wait_for()
    page.locator(".upload", has_text="c.txt").get_by_text("· arrived").wait_for()
    page.fill("[name=language]", "sw")
    page.get_by_role("button", name="Make the dataset").click()
    page.get_by_text("Wait until all files have arrived").wait_for()
    page.get_by_text("b.docx is a document of a word processor").wait_for()
    page.locator(".upload", has_text="b.docx").get_by_role("button").last.click()
    page.locator(".upload", has_text="c.txt").get_by_role("button").last.click()
    page.get_by_role("button", name="Make the dataset").click()
    page.wait_for_url("**/datasets/*-*/")
    names = Dataset.objects.get().versions.get().uploads.values_list("name", flat=True)
    assert list(names) == ["a.txt"]


def test_pause_and_go_on(page: Any, world: World, tmp_path: Path) -> None:
    page.route(
        "**/uploads/**",
        lambda route: (page.wait_for_timeout(30), route.continue_())[1],
    )
    choose(page, written(tmp_path, "hadithi.txt"))
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("paused").wait_for()
    page.wait_for_timeout(300)
    before = Upload.objects.get().received if Upload.objects.exists() else 0
    page.wait_for_timeout(300)
    after = Upload.objects.get().received if Upload.objects.exists() else 0
    assert before == after < len(CONTENT)
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("· arrived").wait_for()
    assert Upload.objects.get().state == "received"


def test_languages_are_offered_while_typing(page: Any) -> None:
    page.locator("[name=language]").press_sequentially("Uyg")
    option = page.locator("#language-options option").first
    option.wait_for(state="attached")
    assert option.get_attribute("value") == "Uyghur (ug)"


def test_another_kind_asks_for_its_columns(
    page: Any, world: World, tmp_path: Path
) -> None:
    pairs = b"English,Kiswahili\n" + b"Good day to you,Habari ya leo\n" * 3
    table = written(tmp_path, "t.csv", pairs)
    dataset = services.add_files(
        workspace=world.workspace, user=None, paths=[table], languages=["en", "sw"]
    )
    page.goto(world.url("dataset", dataset.id))
    page.get_by_text("That is not right").click()
    page.select_option("[name=kind]", "instructions")
    page.locator("[name=column_question]").wait_for()
    page.select_option("[name=column_question]", "English")
    page.select_option("[name=column_answer]", "Kiswahili")
    page.get_by_role("button", name="Read the files so").click()
    page.get_by_text("Waiting to be read").wait_for()
    version = newest(dataset)
    assert version and version.options["kind"] == "instructions"
    services.read_version(version_id=version.id)
    page.get_by_role("heading", name="Samples").wait_for()  # it came by itself
    assert page.locator("[lang=en]", has_text="Good day").first.is_visible()


def test_search_while_typing(page: Any, world: World, tmp_path: Path) -> None:
    lines = "\n".join(f"neno {n}" * 60 for n in range(100)).encode()
    dataset = services.add_files(
        workspace=world.workspace,
        user=None,
        paths=[written(tmp_path, "t.txt", lines)],
        languages=["sw"],
    )
    page.goto(world.url("dataset-rows", dataset.id))
    page.locator("[name=q]").press_sequentially("neno 77")
    page.get_by_text("1 row found").wait_for()
    assert "q=neno" in page.url
