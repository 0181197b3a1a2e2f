"""Every page that links lead to: sound, labelled, readable, usable by keyboard."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
PAGES_OF_A_KIND = 3
# What a page's address has of one thing among many: a number, a recipe, a question.
ONE_OF_MANY = re.compile(r"\d+|(?<=/recipes/)[^/?]+|(?<==)[^&]*")

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
def pages(member: Visitor) -> dict[str, dict[str, Any]]:
    """What is found on the pages that links lead to, from the home of the workspace on:
    a few of each kind (recipes, jobs, the same page with other questions)."""
    page = member.page
    found: dict[str, dict[str, Any]] = {}
    waiting = [urlsplit(page.url).path]
    kinds: Counter[str] = Counter()
    while waiting:
        address = waiting.pop(0)
        with opened(member, address) as answer:
            page.set_viewport_size(NARROW)
            facts = {"status": answer.status, "too_wide": page.evaluate(TOO_WIDE)}
            page.set_viewport_size(WIDE)
            found[address] = facts | page.evaluate(FACTS)
        for link in found[address]["links"]:
            parts = urlsplit(link)
            shown = parts.path + (f"?{parts.query}" if parts.query else "")
            kind = ONE_OF_MANY.sub("*", shown)
            known = shown in found or shown in waiting or "/download/" in shown
            if f"{parts.scheme}://{parts.netloc}" != member.url or known:
                continue
            kinds[kind] += 1
            if kinds[kind] <= PAGES_OF_A_KIND:
                waiting.append(shown)
    assert len(found) >= PAGES_AT_LEAST[member.email], list(found)
    return found


@contextmanager
def opened(visitor: Visitor, address: str) -> Iterator[Any]:
    """Open a page with the chat in it, where it has one, and leave it."""
    answer = visitor.page.goto(address)
    has_chat = bool(visitor.page.locator("iframe.playground").count())
    if has_chat:
        journey.panel(visitor)
    yield answer
    if has_chat:
        visitor.leave()


# What is wider than a narrow window; nothing where the page does not scroll sideways.
TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? []
  : [...document.querySelectorAll("main *")]
    .filter((it) => it.getBoundingClientRect().right > innerWidth + 1
      && !it.closest(".table-wrap, pre, .visually-hidden"))
    .slice(0, 3).map((it) => it.outerHTML.slice(0, 120)).concat("wider than the window")"""
FACTS = """() => {
  const all = (what) => [...document.querySelectorAll(what)];
  const seen = (what) => all(what).filter((it) => it.checkVisibility()).length;
  const ids = all("[id]").map((it) => it.id);
  // Controls at whose middle something else would be pressed.
  const covered = all("main :is(a, button, summary)")
    .filter((it) => it.checkVisibility() && it.getClientRects().length
      && !it.closest("h3, .visually-hidden"))
    .filter((it) => {
      it.scrollIntoView({ block: "center", inline: "center" });
      const box = it.getClientRects()[0];
      const top = document.elementFromPoint(
        box.x + box.width / 2, box.y + box.height / 2);
      return top && top !== it && !it.contains(top) && !top.contains(it);
    });
  const unlabelled = all("input, select, textarea, button")
    .filter((it) => it.type !== "hidden" && it.getClientRects().length)
    .filter((it) => !(it.labels && it.labels.length) && !it.getAttribute("aria-label")
      && !it.getAttribute("aria-labelledby")
      && !(it.tagName === "BUTTON" && it.textContent.trim()));
  return {
    links: all("a[href]:not([download])").map((it) => it.href),
    forms: all("main form[method=post]").map((it) => new URL(it.action).pathname),
    title: document.title,
    marks: [seen("h1"), seen("main"), seen("footer"), Math.min(1, seen("header"))],
    language: all("html[lang][dir]").length,
    as_python: document.body.innerText.includes(" object ("),
    covered: covered.slice(0, 3).map((it) => it.outerHTML.slice(0, 120)),
    unlabelled: unlabelled.map((it) => it.outerHTML),
    twice: ids.filter((id, place) => ids.indexOf(id) !== place),
  };
}"""


def test_every_page_is_sound(member: Visitor, pages: dict[str, dict[str, Any]]) -> None:
    sound = {
        "status": 200,
        "marks": [1, 1, 1, 1],
        "language": 1,
        "as_python": False,
        **dict.fromkeys(("too_wide", "covered", "unlabelled", "twice"), []),
    }
    faults = []
    for address, facts in pages.items():
        for name, wanted in sound.items():
            if facts[name] != wanted:
                faults.append(f"{address}: {name}: {facts[name]}")
        if not re.match(r"\S.* · Mothertongue$", facts["title"]):
            faults.append(f"{address}: the title is {facts['title']!r}")
    assert not faults, "\n".join(faults)
    member.nothing_wrong()


def test_a_fault_of_a_page_is_seen(member: Visitor) -> None:
    """Control of the test before: what it looks for is there, and is found."""
    page = member.page
    page.goto("/profile/")
    page.evaluate("""() => {
      const put = (html) => document.querySelector("main")
        .insertAdjacentHTML("beforeend", html);
      put('<p id="twice">a</p><p id="twice">Job object (1)</p><h1>Second</h1>');
      put('<input name="bare"><div style="width:2000px">wide</div>');
      put('<div style="position:relative"><button>under</button>'
        + '<div style="position:absolute;inset:0;background:red"></div></div>');
    }""")
    page.set_viewport_size(NARROW)
    too_wide = page.evaluate(TOO_WIDE)
    page.set_viewport_size(WIDE)
    facts = page.evaluate(FACTS)
    assert too_wide and facts["covered"] and facts["unlabelled"]
    assert facts["twice"] == ["twice"] and facts["as_python"]
    assert facts["marks"] == [2, 1, 1, 1]


def test_a_viewer_is_offered_nothing_to_change(
    member: Visitor, pages: dict[str, dict[str, Any]]
) -> None:
    offered = {path for facts in pages.values() for path in facts["forms"]}
    own = {"/profile/", "/password/", "/new/"}
    others = {path for path in offered - own if not path.endswith("/leave/")}
    if member.email == VIEWER:
        assert not others
    else:
        assert len(others) > 10  # control


LINES_AT_LEAST_PX = 8 * 29  # of a conversation on a phone, besides its name


def test_on_a_phone_two_conversations_take_turns(member: Visitor) -> None:
    page = member.page
    with opened(member, "/w/terminal/chat/"):
        frame = page.frame_locator("iframe.playground")
        frame.get_by_label("The base model beside it").check()
        both = adapted, base = frame.locator("#adapted"), frame.locator("#base")
        base.wait_for()
        assert adapted.is_visible() and not frame.locator("#which").is_visible()
        page.set_viewport_size(NARROW)
        for name, shown, other in (
            ("Base model", base, adapted),
            ("Your model", adapted, base),
        ):
            frame.locator("#which").get_by_text(name).click()
            member.until(lambda shown=shown: shown.is_visible(), 5_000)
            assert not other.is_visible()
            assert shown.bounding_box()["height"] >= LINES_AT_LEAST_PX + 32
            field = frame.locator("#question textarea").bounding_box()
            assert field["y"] + field["height"] < NARROW["height"]
        frame.get_by_label("The base model beside it").uncheck()
        member.until(lambda: not frame.locator("#which").count(), 5_000)
        assert adapted.is_visible()
        page.set_viewport_size(WIDE)
        assert [one.is_visible() for one in both] == [True, False]


def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    member: Visitor, pages: dict[str, dict[str, Any]]
) -> None:
    page = member.page
    for address in [a for a in pages if re.fullmatch(r"/w/\w+/(\w+/)?", a)]:
        with opened(member, address):
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


def test_pictures_of_the_main_pages(
    member: Visitor, pages: dict[str, dict[str, Any]]
) -> None:
    """Looked at by people; here only that each can be drawn."""
    who = member.email.split("@")[0]
    for address in pages:
        if re.fullmatch(r"/(w/\w+/)?(\w+/)?", address):
            name = address.strip("/").replace("/", "-")
            with opened(member, address):
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
