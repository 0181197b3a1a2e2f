"""The same journey for a language that is written from right to left: Uyghur."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser import journey
from tests.browser.installation import ROOT, Installation
from tests.browser.test_journey import SMALL
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

NAME = "ئۇيغۇرچە"
CORPUS_CHARACTERS = 60_000  # of real text; all of it would only take longer
PAIRS = 150
# With fewer steps the model has only learned to end its answers, at once.
ENOUGH = SMALL | {
    "tune_instructions.steps": "60",
    "tune_instructions.batch_examples": "8",
}
GREETING = "ئەسسالامۇ ئەلەيكۇم، Mothertongue ياخشىمۇ سىز؟ بۈگۈن ھاۋا قانداق؟"

# Where letters of an element's text stand: [left edge, right edge] of each.
PLACES = """(element) => {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    for (let i = 0; i < node.length; i++) {
      const range = document.createRange();
      range.setStart(node, i);
      range.setEnd(node, i + 1);
      const box = range.getBoundingClientRect();
      found.push([node.data[i], box.left, box.right, box.top]);
    }
  }
  return found;
}"""

ISOLATED = """(element) => [element, ...element.querySelectorAll("*")]
  .some((it) => /isolate|plaintext/.test(getComputedStyle(it).unicodeBidi))"""


@pytest.fixture(scope="module")
def files(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The beginning of the real corpus and of the real translations."""
    folder = tmp_path_factory.mktemp("uyghur")
    text = (shared_data / "uyghur/corpus.txt").read_text(encoding="utf-8")
    corpus = folder / "uyghurche.txt"
    corpus.write_text(text[:CORPUS_CHARACTERS], encoding="utf-8")
    pairs = (shared_data / "uyghur/parallel-eng-uig.tsv").read_text(encoding="utf-8")
    parallel = folder / "parallel.tsv"
    parallel.write_text("\n".join(pairs.splitlines()[:PAIRS]), encoding="utf-8")
    return [corpus, parallel]


def test_from_right_to_left(
    installation: Installation,
    visit: Callable[[], Visitor],
    shared_data: Path,
    files: list[Path],
) -> None:
    visitor = visit()
    link = installation.first_link()
    journey.sign_in_for_the_first_time(visitor, link, "aygul@example.org")
    bring_text(visitor, files)
    base = ROOT / "samples/base-en"
    if not (base / "config.json").is_file():
        base = shared_data / "base-models/stories260K"
    journey.register_base(visitor, base)
    choose_the_language(visitor)
    watch_it_learn(visitor)
    chat_with_it(visitor)
    visitor.nothing_wrong()


def bring_text(visitor: Visitor, files: list[Path]) -> None:
    """Samples have the language and the direction; pairs have one each."""
    page = visitor.page
    journey.upload(visitor, files[:1], name=NAME, language=NAME, picture="rtl-03-text")
    heading = page.get_by_role("heading", level=1)
    assert heading.inner_text() == NAME
    assert runs_right_to_left(heading)
    assert "Arabic" in page.locator(".legend").inner_text()
    for sample in page.locator(".sample").all():
        assert sample.get_attribute("lang") == "ug"
        assert sample.get_attribute("dir") == "rtl"
        assert runs_right_to_left(sample)
    journey.upload(
        visitor,
        files[1:],
        name="English–Uyghur",
        language="en",
        second_language="ug",
        drop=True,
        picture="rtl-03-parallel",
    )
    english, uyghur = page.locator(".pair .sample").all()[:2]
    assert [english.get_attribute("lang"), direction(english)] == ["en", "ltr"]
    assert [uyghur.get_attribute("lang"), direction(uyghur)] == ["ug", "rtl"]
    assert not runs_right_to_left(english)  # control
    assert runs_right_to_left(uyghur)
    journey.upload(
        visitor,
        [ROOT / "samples/english/stories.txt"],
        name="Stories",
        language="en",
    )
    journey.room(visitor, "Datasets")
    # A name in another direction does not reorder what stands beside it.
    assert page.get_by_role("link", name=NAME).evaluate(ISOLATED)
    plain = page.get_by_role("link", name="Recipes")
    assert not plain.evaluate(ISOLATED)  # control
    visitor.pictures("rtl-03-datasets")


def choose_the_language(visitor: Visitor) -> None:
    """Specimen and ribbon run from right to left; the page around them does not."""
    page = visitor.page
    learn = [NAME, "English–Uyghur"]
    journey.make_target(visitor, NAME, "ug", "Stories", learn, picture="rtl-05-target")
    specimen = page.locator(".specimen")
    assert [specimen.get_attribute("lang"), direction(specimen)] == ["ug", "rtl"]
    assert runs_right_to_left(specimen)
    ribbon = page.locator(".cutting .ribbon").first
    assert direction(ribbon) == "rtl"
    first, second = (ribbon.locator(".piece").nth(n).bounding_box() for n in (0, 1))
    assert first["x"] > second["x"]
    letters = [c for c in ribbon.inner_text() if c.isalpha()]
    assert letters == [c for c in specimen.inner_text() if c.isalpha()]
    assert direction(page.locator("h1")) == "ltr"  # control
    visitor.pictures("rtl-06-target")


def watch_it_learn(visitor: Visitor) -> None:
    """Prompts and answers take their direction from their own letters."""
    page = visitor.page
    journey.launch(visitor, ENOUGH, picture="rtl-07-launch")
    journey.shows(visitor, "#live-answers dd")
    journey.finished(visitor)
    seen = set()
    for text in page.locator("#live-answers details[open]").locator("dt, dd").all():
        expected = strong_direction(text.inner_text())
        if expected:
            assert direction(text) == expected
            seen.add(expected)
    assert "rtl" in seen
    visitor.pictures("rtl-09-job-done")
    page.get_by_role("link", name="See the model").click()
    page.get_by_role("heading", name="Is it better?").wait_for()
    for ribbon in page.locator(".ribbon").all():
        assert direction(ribbon) == "rtl"
    visitor.pictures("rtl-10-model")


def chat_with_it(visitor: Visitor) -> None:
    """A message in Uyghur begins at the right, also where it is wrapped."""
    page = visitor.page
    page.get_by_role("link", name="Talk with it").click()
    frame = journey.panel(visitor)
    field = frame.locator("#question textarea")
    field.fill(GREETING)
    assert field.evaluate("e => getComputedStyle(e).unicodeBidi") == "plaintext"
    field.fill("")
    journey.ask(visitor, frame, GREETING)
    visitor.until(lambda: any(journey.answers(frame)), journey.ANSWER_MS)
    visitor.until(lambda: not journey.is_writing(frame), journey.ANSWER_MS)
    assert "⚠" not in journey.answers(frame)[-1]
    visitor.picture("rtl-11-chat-wide", whole=False)
    page.set_viewport_size({"width": 390, "height": 844})
    message = frame.locator("#adapted [data-testid=user]").last
    assert message.evaluate("e => getComputedStyle(e).unicodeBidi") == "plaintext"
    assert runs_right_to_left(message)
    assert begins_at(message, "right")
    visitor.picture("rtl-11-chat-narrow", whole=False)
    journey.ask(visitor, frame, "In English this begins at the left, wrapped or not.")
    message = frame.locator("#adapted [data-testid=user]").last
    assert begins_at(message, "left")  # control


def direction(locator: Any) -> str:
    """What the browser made of dir and its inheritance."""
    return locator.evaluate("element => getComputedStyle(element).direction")


def strong_direction(text: str) -> str:
    """The direction of the first letter that has one."""
    for letter in text:
        kind = unicodedata.bidirectional(letter)
        if kind in ("R", "AL"):
            return "rtl"
        if kind == "L":
            return "ltr"
    return ""


def runs_right_to_left(locator: Any) -> bool:
    """Whether of the first two words of one line the first stands further right."""
    places = [p for p in locator.evaluate(PLACES) if p[2] > p[1]]
    line = [p for p in places if abs(p[3] - places[0][3]) < 3 and p[0].isalpha()]
    return line[0][1] > line[min(8, len(line) - 1)][1]


def begins_at(locator: Any, side: str) -> bool:
    """Whether every line of a text of several lines begins at that side of its box."""
    places = [p for p in locator.evaluate(PLACES) if p[2] > p[1] and p[0].strip()]
    lines: dict[int, list[Any]] = {}
    for place in places:
        lines.setdefault(round(place[3] / 10), []).append(place)
    assert len(lines) > 1, "the text was not wrapped"
    lefts = [min(p[1] for p in line) for line in lines.values()]
    rights = [max(p[2] for p in line) for line in lines.values()]
    edges = lefts if side == "left" else rights
    return max(edges) - min(edges) < 6
