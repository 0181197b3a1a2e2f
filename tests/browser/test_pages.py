"""Every page that links lead to: sound, labelled, readable, usable by keyboard."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser import journey
from tests.browser.installation import ROOT, Installation
from tests.browser.visitor import NARROW, PATIENCE_MS, WIDE, Visitor
from tests.conftest import missing

pytestmark = pytest.mark.browser

SAMPLES = ROOT / "samples"
OWNER, VIEWER = "amina@example.org", "vera@example.org"
PAGES_AT_LEAST = {OWNER: 25, VIEWER: 15}
PAGES_AT_MOST = 90

PEOPLE = f"""
from webapp.accounts.services import register
from webapp.accounts.models import User
from webapp.workspaces.models import Membership, Role, Workspace
workspace = Workspace.objects.get(slug="terminal")
workspace.name = "Riverside"
workspace.save()
for email, role in (("{OWNER}", Role.OWNER), ("{VIEWER}", Role.VIEWER)):
    user = register(email=email, name=email.split("@")[0].title(),
                    password="{journey.PASSWORD}")
    Membership.objects.create(workspace=workspace, user=user, role=role)
"""


@pytest.fixture(scope="module")
def furnish() -> Callable[[Installation], None]:
    """A small finished job, made from a terminal; an owner and a viewer."""
    base = SAMPLES / "base-en"
    if not (base / "config.json").is_file():
        base = ROOT.parent / "shared/data/base-models/stories260K"
    if not base.is_dir():
        missing("there is no base model to begin with")

    def make(installation: Installation) -> None:
        few = {
            "prepare.held_out_characters": 2000,
            "prepare.validation_characters": 1000,
            "extend_vocabulary.new_tokens": 200,
            "continue_pretraining.steps": 6,
            "continue_pretraining.batch_blocks": 2,
            "continue_pretraining.evaluations": 2,
            "tune_instructions.steps": 4,
            "tune_instructions.batch_examples": 2,
            "tune_instructions.evaluations": 1,
            "evaluate.sample_tokens": 20,
        }
        options = ["--language", "sw", "--base", str(base), "--minutes", "2"]
        options += ["--recipe", "default"]
        options += ["--text", str(SAMPLES / "swahili/hadithi.txt")]
        options += ["--parallel", str(SAMPLES / "swahili/parallel.tsv")]
        options += ["--instructions", str(SAMPLES / "swahili/instructions.jsonl")]
        options += ["--protect", str(SAMPLES / "english/stories.txt")]
        for name, value in few.items():
            options += ["--set", f"{name}={value}"]
        installation.manage("adapt", *options, seconds=1_200)
        installation.manage("shell", "-c", PEOPLE)

    return make


@pytest.fixture(scope="module", params=[OWNER, VIEWER])
def member(request: pytest.FixtureRequest, visit: Callable[[], Visitor]) -> Visitor:
    """Somebody who has signed in."""
    visitor = visit()
    visitor.email = request.param
    journey.sign_in(visitor, request.param)
    return visitor


@pytest.fixture(scope="module")
def addresses(member: Visitor) -> list[str]:
    """Every page that links lead to, from the home of the workspace on."""
    page = member.page
    found, waiting = [], [urlsplit(page.url).path]
    while waiting and len(found) < PAGES_AT_MOST:
        address = waiting.pop(0)
        found.append(address)
        open_whole(member, address)
        for link in page.locator("a[href]:not([download])").all():
            parts = urlsplit(link.evaluate("link => link.href"))
            shown = parts.path + (f"?{parts.query}" if parts.query else "")
            here = f"{parts.scheme}://{parts.netloc}" == member.url
            if here and not re.search("/download/", shown):
                if shown not in found and shown not in waiting:
                    waiting.append(shown)
    assert len(found) >= PAGES_AT_LEAST[member.email], found
    return found


def open_whole(visitor: Visitor, address: str) -> Any:
    """Open a page and wait for the chat in it: left half loaded it complains."""
    answer = visitor.page.goto(address)
    if visitor.page.locator("iframe.playground").count():
        journey.panel(visitor)
    return answer


UNLABELLED = """() => [...document.querySelectorAll("input, select, textarea, button")]
  .filter((it) => it.type !== "hidden" && it.getClientRects().length)
  .filter((it) => !(it.labels && it.labels.length) && !it.getAttribute("aria-label")
    && !it.getAttribute("aria-labelledby")
    && !(it.tagName === "BUTTON" && it.textContent.trim()))
  .map((it) => it.outerHTML)"""
# Controls at whose middle something else would be pressed.
COVERED = """() => [...document.querySelectorAll("main :is(a, button, summary)")]
  .filter((it) => it.checkVisibility() && it.getClientRects().length && !it.closest("h3")
    && !it.closest(".visually-hidden"))
  .filter((it) => {
    it.scrollIntoView({ block: "center", inline: "center" });
    const box = it.getClientRects()[0];
    const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return top && top !== it && !it.contains(top) && !top.contains(it);
  }).slice(0, 3).map((it) => it.outerHTML.slice(0, 120))"""
TOO_WIDE = """() => [...document.querySelectorAll("main *")]
  .filter((it) => it.getBoundingClientRect().right > innerWidth + 1
    && !it.closest(".table-wrap, pre, .visually-hidden"))
  .slice(0, 3).map((it) => it.outerHTML.slice(0, 120))"""


def test_every_page_is_sound(member: Visitor, addresses: list[str]) -> None:
    page = member.page
    faults = []
    for address in addresses:
        answer = open_whole(member, address)
        page.set_viewport_size(NARROW)
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > NARROW["width"]:
            faults.append(f"{address}: {wide} px wide: {page.evaluate(TOO_WIDE)}")
        page.set_viewport_size(WIDE)
        if covered := page.evaluate(COVERED):
            faults.append(f"{address}: covered: {covered}")
        if answer.status != 200:
            faults.append(f"{address}: {answer.status}")
        for what, number in {"h1": 1, "main": 1, "header": None, "footer": 1}.items():
            count = page.locator(f"{what} >> visible=true").count()
            if count != number and not (number is None and count):
                faults.append(f"{address}: {count} × {what}")
        if not re.match(r"\S.* · Mothertongue$", page.title()):
            faults.append(f"{address}: the title is {page.title()!r}")
        if not page.locator("html[lang][dir]").count():
            faults.append(f"{address}: no language of the page")
        if " object (" in page.locator("body").inner_text():
            faults.append(f"{address}: a row is shown as Python shows it")
        for field in page.evaluate(UNLABELLED):
            faults.append(f"{address}: no label: {field}")
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        if len(ids) != len(set(ids)):
            twice = {i for i in ids if ids.count(i) > 1}
            faults.append(f"{address}: ids that are there twice: {twice}")
    assert not faults, "\n".join(faults)
    member.nothing_wrong()


def test_a_viewer_is_offered_nothing_to_change(
    member: Visitor, addresses: list[str]
) -> None:
    page = member.page
    offered = set()
    for address in addresses:
        open_whole(member, address)
        for form in page.locator("main form[method=post]").all():
            offered.add(urlsplit(form.evaluate("form => form.action")).path)
    own = {"/profile/", "/password/", "/new/"}
    others = {path for path in offered - own if not path.endswith("/leave/")}
    if member.email == VIEWER:
        assert not others
    else:
        assert len(others) > 10  # control


def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    member: Visitor, addresses: list[str]
) -> None:
    page = member.page
    for address in [a for a in addresses if re.fullmatch(r"/w/\w+/(\w+/)?", a)]:
        open_whole(member, address)
        wanted = set(page.evaluate(NAMES, "main a.button, main button, nav a"))
        reached: list[str] = []
        for _step in range(300):  # the gallery's first section alone has 34 cards
            page.keyboard.press("Tab")
            name, is_seen = page.evaluate(FOCUSED)
            if name is None:
                break
            assert is_seen, f"{address}: the focus on {name!r} cannot be seen"
            reached.append(name)
            if wanted <= set(reached):
                break
        assert reached[0] == "Skip to the content", address
        assert wanted <= set(reached), f"{address}: {wanted - set(reached)}"


NAMES = """(what) => [...document.querySelectorAll(what)]
  // checkVisibility: what stands in closed details has boxes and cannot be reached.
  .filter((it) => it.checkVisibility() && !it.disabled && it.tabIndex >= 0)
  .map((it) => it.innerText.trim())"""
FOCUSED = """() => {
  const it = document.activeElement;
  if (!it || it === document.body || it.tagName === "IFRAME") return [null, false];
  const visible = (style) => (style.outlineStyle !== "none"
    && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  const near = [it, it.parentElement, it.closest("label"), ...(it.labels || [])];
  const box = it.getBoundingClientRect();
  return [it.innerText.trim() || it.name || it.id || it.tagName,
    near.filter(Boolean).some((e) => visible(getComputedStyle(e))) && box.height > 0];
}"""


CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    canvas.fillStyle = style.getPropertyValue(name).trim();
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
      .map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92
        : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = ([front, back]) => {
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    return [front, back, (a + 0.05) / (b + 0.05)];
  };
  const text = [];
  for (const ink of ["--ink", "--ink-soft", "--ink-faint", "--mark"])
    for (const back of ["--paper", "--sheet", "--well"]) text.push([ink, back]);
  for (const kind of ["good", "warn", "bad"]) text.push([`--${kind}`, `--${kind}-wash`]);
  for (const kind of ["0", "1", "2", "3", "4", "5", "byte"])
    text.push(["--piece-ink", `--piece-${kind}`]);
  text.push(["--on-ink", "--ink"]);
  const lines = ["--focus", "--line-strong", "--curve-target", "--curve-protected"]
    .map((line) => [line, "--paper"]);
  return { text: text.map(ratio), lines: lines.map(ratio) };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(member: Visitor, scheme: str) -> None:
    """WCAG 2.2: 4.5 to 1 for text (1.4.3), 3 to 1 for what must be seen (1.4.11)."""
    page = member.page
    page.emulate_media(color_scheme=scheme)
    page.goto("/profile/")
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    found = page.evaluate(CONTRASTS)
    page.emulate_media(color_scheme="light")
    brightness = sum(map(int, re.findall(r"\d+", paper)[:3]))
    assert (brightness > 600) == (scheme == "light")  # control
    faint = [pair for pair in found["text"] if pair[2] < 4.5]
    faint += [pair for pair in found["lines"] if pair[2] < 3]
    assert len(found["text"]) > 20
    assert not faint


def test_pictures_of_the_main_pages(member: Visitor, addresses: list[str]) -> None:
    """Looked at by people; here only that each can be drawn."""
    who = member.email.split("@")[0]
    for address in addresses:
        if re.fullmatch(r"/(w/\w+/)?(\w+/)?", address):
            open_whole(member, address)
            name = address.strip("/").replace("/", "-")
            member.pictures(f"page-{who}-{name}", whole="chat" not in name)


def test_a_running_job_is_cancelled_from_its_page(
    installation: Installation, visit: Callable[[], Visitor]
) -> None:
    visitor = visit()
    journey.sign_in(visitor, OWNER)
    page = visitor.page
    journey.room(visitor, "Targets")
    page.get_by_role("link", name="Swahili").first.click()
    journey.launch(visitor, {"continue_pretraining.steps": "100000"}, "cancel-launch")
    journey.shows(visitor, ".stages .done")
    assert engines(installation)  # control: one is at work
    page.locator("#cancel").click()
    page.locator("#live-state[data-ended=yes]").wait_for(timeout=journey.JOB_MS)
    assert "Cancelled" in page.locator("#live-state").inner_text()
    visitor.until(lambda: not engines(installation), PATIENCE_MS)
    assert not page.get_by_role("link", name="See the model").count()
    visitor.pictures("cancelled")
    visitor.nothing_wrong()


def engines(installation: Installation) -> list[int]:
    """Processes of this installation that train."""
    found = []
    for number in installation.alive():
        asked = ["ps", "-o", "args=", "-p", str(number)]
        words = subprocess.run(asked, capture_output=True, text=True).stdout
        if "-m training" in words:
            found.append(number)
    return found


def test_who_is_not_signed_in_sees_one_page(visit: Callable[[], Visitor]) -> None:
    visitor = visit()
    answer: Any = visitor.page.goto("/w/terminal/jobs/")
    assert answer.status == 200
    assert urlsplit(visitor.page.url).path == "/sign-in/"
    visitor.pictures("page-sign-in")
