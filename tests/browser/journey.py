"""The steps from a first sign-in to a chat, each as a person takes it in the browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.browser.visitor import Visitor

PASSWORD = "a-quiet-river-7"
READING_MS = 240_000
JOB_MS = 1_500_000
ANSWER_MS = 180_000


def sign_in_for_the_first_time(visitor: Visitor, link: str, email: str) -> None:
    """The printed link, once; then a workspace where there is none yet."""
    page = visitor.page
    page.goto(link)
    page.get_by_label("Your name").fill("Amina")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same password again").fill(PASSWORD)
    visitor.pictures("01-first-sign-in")
    page.get_by_role("button", name="Set the password and go in").click()
    page.wait_for_load_state()
    if page.get_by_label("Name of the workspace").count():
        page.get_by_label("Name of the workspace").fill("Riverside")
        page.get_by_role("button", name="Make the workspace").click()
    page.wait_for_url("**/w/*/")


def sign_in(visitor: Visitor, email: str) -> None:
    """With e-mail address and password."""
    page = visitor.page
    page.goto("/sign-in/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/w/*/")


def room(visitor: Visitor, name: str) -> None:
    """Go to a room of the workspace by its name in the masthead."""
    rooms = visitor.page.get_by_role("navigation", name="Workspace")
    rooms.get_by_role("link", name=name, exact=True).click()
    visitor.page.wait_for_load_state()


def upload(
    visitor: Visitor,
    files: list[Path],
    *,
    name: str,
    language: str,
    second_language: str = "",
    drop: bool = False,
    picture: str = "",
) -> str:
    """A dataset from files, chosen or dropped; waits until it is read. Its address."""
    page = visitor.page
    room(visitor, "Datasets")
    here = page.url.split("?")[0]
    page.goto(f"{here}new/")
    if drop:
        drop_files(page, files)
    else:
        page.locator("#id_files").set_input_files(files)
    for file in files:
        row = page.locator("#uploads > li", has_text=file.name)
        row.get_by_text("arrived").wait_for()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Language", exact=True).fill(language)
    if second_language:
        page.get_by_text("They are sentences with their translation").click()
        page.get_by_label("Second language").fill(second_language)
    if picture:
        visitor.pictures(f"{picture}-files-arrived")
    page.get_by_role("button", name="Make the dataset").click()
    page.wait_for_url(re.compile(r"/datasets/[0-9a-f-]{36}/"))
    page.get_by_role("heading", name="Samples").wait_for(timeout=READING_MS)
    if picture:
        visitor.pictures(f"{picture}-read")
    return page.url


def drop_files(page: Any, files: list[Path]) -> None:
    """Drag files from outside over the drop area and let go, as a hand would."""
    box = page.locator("#drop").bounding_box()
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    paths = [str(file.resolve()) for file in files]
    carried = {"items": [], "files": paths, "dragOperationsMask": 1}
    protocol = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, **place, "data": carried}
        protocol.send("Input.dispatchDragEvent", event)
    protocol.detach()


def register_base(visitor: Visitor, folder: Path) -> None:
    """A base model from a folder; its tokenizer is tried on a sentence."""
    page = visitor.page
    room(visitor, "Base models")
    page.get_by_role("link", name="Add a base model").first.click()
    page.get_by_label("In a folder of this machine").check()
    page.get_by_label("Folder or hub id").fill(str(folder))
    page.get_by_label("Licence").fill("MIT")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url(re.compile(r"/bases/[0-9a-f-]{36}/"))
    page.get_by_role("heading", name="Passport").wait_for(timeout=READING_MS)


def make_target(
    visitor: Visitor,
    autonym: str,
    tag: str,
    protect: str,
    learn: list[str],
    picture: str = "05-target",
) -> None:
    """A target whose language is typed as its speakers call it."""
    page = visitor.page
    room(visitor, "Targets")
    page.get_by_role("link", name="New target").first.click()
    page.get_by_label("Language", exact=True).press_sequentially(autonym, delay=20)
    choice = page.locator(f"#languages input[value='{tag}']")
    choice.wait_for()
    choice.check()
    page.wait_for_load_state("networkidle")  # its texts come first now, and are ticked
    for name in learn:
        page.locator("input[name=datasets]").and_(
            page.get_by_label(name, exact=False)
        ).check()
    box = page.locator("input[name=protected]").and_(
        page.get_by_label(protect, exact=False)
    )
    box.check()
    visitor.pictures(f"{picture}-new")
    page.get_by_role("button", name="Make the target").click()
    page.wait_for_url(re.compile(r"/targets/[0-9a-f-]{36}/"))


def launch(
    visitor: Visitor, settings: dict[str, str], picture: str = "07-launch"
) -> str:
    """The five questions, some settings of the drawer, and go; the job's address."""
    page = visitor.page
    page.get_by_role("link", name="Adapt").click()
    page.get_by_role("heading", name="What will happen").wait_for()
    page.get_by_label("How long").fill("3")
    page.get_by_label("To answer and talk").check()
    with page.expect_response(re.compile("/jobs/new/plan/")):
        page.get_by_label("How long").blur()
    with page.expect_response(re.compile("/jobs/new/plan/")):
        page.locator("#id_recipe").select_option("default")
    page.get_by_text("Every setting, for whoever wants to decide it").click()
    for summary in page.locator("#drawer details > summary").all():
        summary.click()
    for name, value in settings.items():
        page.locator(f"[name='{name}']").fill(value)
    visitor.pictures(picture)
    page.get_by_role("button", name="Begin").click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}/"))
    return page.url


def shows(visitor: Visitor, selector: str) -> None:
    """Look on until the job's page shows something; not longer than the job lives."""
    page = visitor.page
    ended = page.locator("#live-state[data-ended=yes]")
    page.locator(selector).first.or_(ended).first.wait_for(timeout=JOB_MS)
    words = page.locator("#live-state").inner_text()
    assert page.locator(selector).count(), words


def finished(visitor: Visitor) -> None:
    """Look on until the job has ended, and ended well."""
    page = visitor.page
    page.locator("#live-state[data-ended=yes]").wait_for(timeout=JOB_MS)
    words = page.locator("#live-state").inner_text()
    assert page.get_by_role("link", name="See the model").count(), words


def panel(visitor: Visitor) -> Any:
    """The chat panel inside its frame, when its models are there."""
    frame = visitor.page.frame_locator("iframe.playground")
    frame.locator("#question textarea").wait_for()
    visitor.until(lambda: frame.locator("#model input").input_value(), 60_000)
    return frame


def ask(visitor: Visitor, frame: Any, question: str) -> None:
    """Write a question and press Enter."""
    frame.locator("#question textarea").fill(question)
    frame.locator("#question textarea").press("Enter")
    frame.locator("#adapted .user", has_text=question).last.wait_for()


def answers(frame: Any, name: str = "adapted") -> list[str]:
    """What a conversation's model has said, oldest first."""
    return frame.locator(f"#{name} [data-testid=bot]").all_inner_texts()


def is_writing(frame: Any) -> bool:
    """Whether an answer is on its way: then there is a button to stop it."""
    return frame.locator("#question .stop-button").is_visible()
