"""The whole journey with the files of samples/: from the first link to a chat."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.browser import journey
from tests.browser.installation import ROOT, Installation
from tests.browser.visitor import Visitor
from tests.conftest import missing

pytestmark = pytest.mark.browser

SAMPLES = ROOT / "samples"
# Few and small steps: the journey is tested here, not what is learned on it.
SMALL = {
    "prepare.held_out_characters": "3000",
    "prepare.validation_characters": "2000",
    "extend_vocabulary.new_tokens": "300",
    "continue_pretraining.steps": "24",
    "continue_pretraining.batch_blocks": "2",
    "continue_pretraining.evaluations": "3",
    "tune_instructions.steps": "12",
    "tune_instructions.batch_examples": "2",
    "tune_instructions.evaluations": "1",
    "evaluate.sample_tokens": "30",
}


@pytest.fixture(scope="module")
def base_folder() -> Path:
    """The bundled base; where it is not there, a small one of the shared models."""
    bundled = SAMPLES / "base-en"
    if (bundled / "config.json").is_file():
        return bundled
    other = ROOT.parent / "shared/data/base-models/stories260K"
    if not other.is_dir():
        missing("there is no base model to begin with")
    return other


def test_from_the_first_link_to_a_chat(
    installation: Installation,
    visit: Callable[[], Visitor],
    base_folder: Path,
    tmp_path: Path,
) -> None:
    visitor = visit()
    begin(visitor, installation)
    bring_text(visitor)
    journey.register_base(visitor, base_folder)
    try_the_tokenizer(visitor)
    choose_the_language(visitor)
    watch_it_learn(visitor)
    judge_the_model(visitor, tmp_path)
    chat_with_it(visitor)
    visitor.leave()
    visitor.page.goto("/")
    visitor.page.get_by_role("heading", level=1).wait_for()
    visitor.pictures("12-home")
    visitor.nothing_wrong()


def begin(visitor: Visitor, installation: Installation) -> None:
    """The link works once; an empty workspace says what it is for."""
    page = visitor.page
    link = installation.first_link()
    journey.sign_in_for_the_first_time(visitor, link, "amina@example.org")
    heading = page.get_by_role("heading", level=1)
    assert (
        heading.inner_text().split() == "Teach a language model your language".split()
    )
    assert page.get_by_role("link", name="or bring your own text").is_visible()
    visitor.pictures("02-empty")
    home = page.url
    page.goto(link)
    assert page.get_by_role("heading", name="This link is over").is_visible()
    assert "410 (Gone)" in visitor.wrong.pop()
    page.goto(home)
    # The address that the link's command prints works as well.
    printed = installation.manage(
        "sign-in-link", "amina@example.org", "--site", installation.url
    )
    assert printed.startswith(f"{installation.url}/link/")


def bring_text(visitor: Visitor) -> None:
    """Chosen and dropped files; what is in them is seen before they are used."""
    page = visitor.page
    journey.upload(
        visitor,
        [SAMPLES / "swahili/hadithi.txt", SAMPLES / "swahili/maisha.txt"],
        name="Hadithi na maisha",
        language="Kiswahili",
        picture="03-text",
    )
    figures = page.get_by_role("region", name="Figures").inner_text()
    assert re.search(r"Documents\s+155", figures), figures
    assert "Swahili" in page.locator(".lead").inner_text()
    assert "Latin" in page.locator(".legend").inner_text()
    sample = page.locator(".sample").first
    assert sample.get_attribute("lang") == "sw"
    assert sample.get_attribute("dir") == "ltr"
    journey.upload(
        visitor,
        [SAMPLES / "swahili/parallel.tsv"],
        name="Sentences",
        language="English",
        second_language="sw",
        drop=True,
        picture="03-parallel",
    )
    assert "Sentences with their translation" in page.locator(".lead").inner_text()
    tags = [p.get_attribute("lang") for p in page.locator(".pair .sample").all()[:2]]
    assert tags == ["en", "sw"]
    journey.upload(
        visitor,
        [SAMPLES / "swahili/instructions.jsonl"],
        name="Maswali",
        language="sw",
        picture="03-instructions",
    )
    assert "Questions with answers" in page.locator(".lead").inner_text()
    journey.upload(
        visitor,
        [SAMPLES / "english/stories.txt"],
        name="Stories",
        language="en",
    )
    journey.room(visitor, "Datasets")
    assert page.locator("tbody tr").count() == 4
    visitor.pictures("03-datasets")


def try_the_tokenizer(visitor: Visitor) -> None:
    """A sentence is cut while one types; the pieces spell it."""
    page = visitor.page
    sentence = "Hadithi njoo, utamu kolea"
    page.get_by_role("textbox", name="Try the tokenizer").press_sequentially(
        sentence, delay=5
    )
    ribbon = page.locator("#tried .ribbon")
    visitor.until(lambda: ribbon.count() and ribbon.inner_text() == sentence, 30_000)
    assert ribbon.locator(".piece").count() > 4
    visitor.pictures("04-base")


def choose_the_language(visitor: Visitor) -> None:
    """By its own name; its sentence is shown cut by the base."""
    page = visitor.page
    learn = ["Hadithi na maisha", "Sentences", "Maswali"]
    journey.make_target(visitor, "Kiswahili", "sw", "Stories", learn)
    specimen = page.locator(".specimen")
    assert specimen.get_attribute("lang") == "sw"
    ribbon = page.locator(".cutting .ribbon").first
    assert ribbon.inner_text() == specimen.inner_text()
    assert ribbon.locator(".piece").count() > 4
    assert "Tokens per word" in page.locator(".cutting").first.inner_text()
    visitor.pictures("06-target")


def watch_it_learn(visitor: Visitor) -> None:
    """The live page: stages, curve, answers, log; a reload loses nothing."""
    page = visitor.page
    address = journey.launch(visitor, SMALL)
    visitor.pictures("08-job-waiting")
    stages = page.locator(".stages li")
    assert stages.count() == 6
    for sight in (".stages .now", "#curves canvas", "#live-answers dd"):
        journey.shows(visitor, sight)
    done = page.locator(".stages .done").count()
    assert done >= 1
    page.locator("#log summary").click()
    lines = page.locator("#log li").count()
    assert lines
    visitor.pictures("08-job-running")
    page.reload()
    assert page.url == address
    page.locator("#curves canvas").wait_for()
    assert page.locator(".stages .done").count() >= done
    assert page.locator("#log li").count() >= lines
    assert page.locator("#live-answers dd").count()
    journey.finished(visitor)
    assert page.locator(".stages .done").count() == 6
    page.locator("#points summary").click()
    assert page.locator("#points tbody tr").count() >= 2
    visitor.pictures("09-job-done")


def judge_the_model(visitor: Visitor, tmp_path: Path) -> None:
    """Figures before and after, and a folder that others' programs can load."""
    page = visitor.page
    page.get_by_role("link", name="See the model").click()
    page.get_by_role("heading", name="Is it better?").wait_for()
    figures = page.locator("section", has_text="Is it better?").inner_text()
    assert re.search(r"Swahili, bits per byte\s+\d\.\d+ → \d\.\d+", figures), figures
    assert re.search(r"English, bits per byte\s+\d\.\d+ → \d\.\d+", figures), figures
    before, after = re.search(r"Pieces\s+([\d,]+) → ([\d,]+)", figures).groups()
    assert int(after.replace(",", "")) > int(before.replace(",", ""))
    visitor.pictures("10-model")
    load_all([take_home(page, link, tmp_path / link) for link in TAKEN_HOME])


# What is downloaded, and a file by which its folder is found.
TAKEN_HOME = {
    "Download the model": "config.json",
    "Download the adapter": "adapter_config.json",
    "Download the base of the adapter": "config.json",
}


LOAD = """
import json, sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, adapter, base = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
ids = tokenizer("Habari ya asubuhi", return_tensors="pt")
out = model.generate(**ids, max_new_tokens=5, do_sample=False)
logits, others = model(**ids).logits, beside(**ids).logits
print(json.dumps({
    "difference": float((logits - others).abs().max()),
    "largest": float(logits.abs().max()),
    "rows": model.get_input_embeddings().weight.shape[0],
    "pieces": len(tokenizer),
    "template": bool(tokenizer.chat_template),
    "same": tokenizer.decode(ids["input_ids"][0], skip_special_tokens=True),
    "new": int(out.shape[1] - ids["input_ids"].shape[1]),
}))
"""


def take_home(page: Page, link: str, place: Path) -> Path:
    """The folder in what a link downloads that others' programs load."""
    with page.expect_download() as waiting:
        page.get_by_role("link", name=link).click()
    packed = place.with_name(f"{place.name}.zip")
    waiting.value.save_as(packed)
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        archive.extractall(place)
    (config,) = place.rglob(TAKEN_HOME[link])
    assert list(config.parent.glob("*.safetensors"))
    return config.parent


def load_all(folders: list[Path]) -> None:
    """Model, adapter and base, in a process of its own, which knows nothing of this
    project; the model says what the adapter over its base says."""
    model = folders[0]
    assert (model / "README.md").read_text(encoding="utf-8").startswith("---")
    ended = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, folders)],
        cwd=model,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    loaded = json.loads(ended.stdout.splitlines()[-1])
    assert loaded["rows"] >= loaded["pieces"]
    assert loaded["template"]
    assert loaded["same"].strip() == "Habari ya asubuhi"
    assert loaded["new"] >= 1
    assert loaded["difference"] < 1e-4 * loaded["largest"]


def chat_with_it(visitor: Visitor) -> None:
    """It answers, the base beside it; it can be stopped, and asked again."""
    page = visitor.page
    page.get_by_role("link", name="Talk with it").click()
    frame = journey.panel(visitor)
    visitor.picture("11-chat-empty", whole=False)
    frame.get_by_label("The base model beside it").check()
    frame.locator("#base").wait_for()
    journey.ask(visitor, frame, "Habari za asubuhi?")
    for name in ("adapted", "base"):
        visitor.until(
            lambda name=name: any(
                text.strip() for text in journey.answers(frame, name)
            ),
            journey.ANSWER_MS,
        )
    visitor.until(lambda: not journey.is_writing(frame), journey.ANSWER_MS)
    assert "⚠" not in journey.answers(frame)[-1]
    visitor.picture("11-chat-first", whole=False)
    stop_an_answer(visitor, frame)
    said = len(journey.answers(frame))
    journey.ask(visitor, frame, "Jina lako ni nani?")
    visitor.until(lambda: len(journey.answers(frame)) > said, journey.ANSWER_MS)
    visitor.until(lambda: not journey.is_writing(frame), journey.ANSWER_MS)
    last = journey.answers(frame)[-1]
    assert last.strip()
    assert "⚠" not in last
    visitor.pictures("11-chat", whole=False)


def stop_an_answer(visitor: Visitor, frame: Any) -> None:
    """A long answer ends when it is told to; a small model may be done before that."""
    frame.get_by_text("How the answer is chosen").click()
    for name, value in (("Longest answer", "512"), ("Temperature", "1.5")):
        frame.get_by_label(f"number input for {name}").fill(value)
        frame.get_by_label(f"number input for {name}").press("Tab")
    frame.get_by_text("How the answer is chosen").click()
    stop = frame.locator("#question .stop-button")
    for _attempt in range(8):
        journey.ask(visitor, frame, "Niambie hadithi ndefu sana.")
        try:
            stop.click(timeout=10_000)
            break
        except PlaywrightTimeout:
            continue  # it was done already
    else:
        pytest.fail("no answer lasted long enough to be stopped")
    visitor.until(lambda: not journey.is_writing(frame), 20_000)
    kept = journey.answers(frame), journey.answers(frame, "base")
    visitor.page.wait_for_timeout(3_000)
    # Nothing comes after it.
    assert (journey.answers(frame), journey.answers(frame, "base")) == kept
