"""Every recipe that can be launched, from plain files to a report, on a tiny model."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.training import tiny
from tests.training.chat_service import teach
from training import errors
from training.events import read_events
from training.run import run_job
from training.spec import Corpus, Data, Device, JobSpec, Resources, StageSettings
from webapp.jobs.planning.plan import make_plan
from webapp.jobs.planning.situation import Situation
from webapp.recipes.catalogue import launchable

pytestmark = pytest.mark.slow
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The least of everything: what a recipe decides stays, how long it takes does not.
SMALL: dict[str, Any] = {
    "steps": 3,
    "precision": "float32",
    "evaluations": 1,
    "epochs": 40.0,
    "block_tokens": 64,
    "batch_blocks": 2,
    "batch_examples": 4,
    "batch_pairs": 4,
    "batch_snippets": 8,
    "maximum_tokens": 128,
    "new_tokens": 48,
    "minimum_occurrences": 2,
    "vocabulary_size": 400,
    "prune_tokens": 8,
    "lora_rank": 4,
    "bottleneck_width": 8,
    "lottery_rows": 8,
    "lottery_steps": 2,
    "period_steps": 1,
    "lisa_layers": 1,
    "rounds": 1,
    "forget_every_steps": 1,
    "average_last": 1,
    "snippets": 2,
    "translated_rows": 4,
    "backtranslated_documents": 4,
    "invented_conversations": 4,
    "generation_minutes": 0.02,
    "least_chrf": 0.0,
    "least_pairs": 2,
    "sample_tokens": 2,
    "held_out_characters": 4_000,
    "validation_characters": 2_000,
    "least_tokens": 1,
    "interlinear_share": 0.5,
}
ONLY_WHERE_SET = {
    "forget_every_steps",
    "average_last",
    "translated_rows",
    "backtranslated_documents",
    "invented_conversations",
    "prune_tokens",
    "interlinear_share",
    "least_chrf",
}

# What computes in a way of its own.
ON_ANOTHER_DEVICE = (
    "lora",
    "token-distillation",
    "sambalingo",
    "branch-and-merge",
    "icelandic-bottleneck",
    "lisa",
    "ks-lottery",
    "instruction-backtranslation",
    "noisy-parallel",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bases, tied and not, an instruct sibling, a donor, and a file of every role."""
    folder = tmp_path_factory.mktemp("recipes")
    for name, tied in (("tied", True), ("untied", False)):
        tiny.base(folder / name, tied=tied)
        sibling = tiny.base(folder / f"{name}-chat", tied=tied)
        settings = json.loads((sibling / "tokenizer_config.json").read_text())
        settings["chat_template"] = CHAT
        (sibling / "tokenizer_config.json").write_text(json.dumps(settings))
    words = tiny.tokenizer(tiny.documents(80) + tiny.documents(80, script="latin"))
    words.save_pretrained(folder / "donor")
    tiny.model(len(words), seed=3).save_pretrained(folder / "donor")
    return folder


def data(folder: Path) -> Data:
    """Files of every role in made-up languages."""
    target = tiny.documents(60)
    latin = tiny.documents(60, script="latin", seed=2)
    near = tiny.documents(60, seed=5)
    sentences = [(a.split(". ")[0], b.split(". ")[0]) for a, b in zip(latin, target)]  # noqa: B905
    pairs = [{"source": a, "target": b} for a, b in sentences]
    words = [
        {"source": one, "target": other}
        for a, b in sentences[:40]
        for one, other in zip(a.split()[1:3], b.split()[1:3], strict=True)
    ]

    def talk(question: str, answer: str) -> list[dict[str, str]]:
        return [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]

    asked = [
        {"messages": talk(b, b[::-1]), "id": str(n)}
        for n, (_, b) in enumerate(sentences)
    ]
    english = [
        {"messages": talk(a, a[::-1]), "id": str(n)}
        for n, (a, _) in enumerate(sentences)
    ]
    preferred = [
        {"messages": talk(b, "")[:1], "chosen": b, "rejected": "no"}
        for _, b in sentences
    ]

    def rows(name: str, kind: str, of: list[dict[str, Any]], *languages: str) -> Corpus:
        path = tiny.write_rows(folder / f"{name}.jsonl", of)
        return Corpus(str(path), kind, languages)

    return Data(
        target=(tiny.corpus(folder / "target.jsonl", target),),
        protected=(tiny.corpus(folder / "english.jsonl", latin, language="en"),),
        related=(tiny.corpus(folder / "near.jsonl", near, language="ky"),),
        parallel=(rows("pairs", "parallel", pairs, "en", "kk"),),
        dictionary=(rows("words", "parallel", words, "en", "kk"),),
        instructions=(
            rows("asked", "instructions", asked, "kk"),
            rows("english-asked", "instructions", english, "en"),
        ),
        preferences=(rows("preferred", "preferences", preferred, "kk"),),
    )


def small(stage: StageSettings) -> StageSettings:
    """The same stage, as short as it can be."""
    fields = {field.name for field in dataclasses.fields(stage)}
    wanted = {
        name: value
        for name, value in SMALL.items()
        if name in fields and (name not in ONLY_WHERE_SET or getattr(stage, name))
    }
    if getattr(stage, "trains", "") == "half" or getattr(stage, "branches", 1) > 1:
        wanted["steps"] = 4
    return dataclasses.replace(stage, **wanted)


def situation(tied: bool) -> Situation:
    passport = {"parameters": 50_000, "positions": 256, "rows": 320, "tied": tied}
    roles = [role.name for role in dataclasses.fields(Data)]
    return Situation(
        passport=passport,
        language="kk",
        target_bytes=60_000,
        target_characters=30_000,
        protected_bytes=30_000,
        parallel_rows=120,
        instruction_rows=240,
        minutes=5,
        characters_per_token=0.6,
        available=frozenset([*roles, "instruct", "donor", "models"]),
    )


def job(name: str, world: Path, folder: Path) -> JobSpec:
    """The job of a recipe, as short as it can be, with a file of every role."""
    recipe = launchable()[name]
    kind = "untied" if "untied" in recipe.needs else "tied"
    plan = make_plan(situation(kind == "tied"), recipe)
    spec = JobSpec(
        job=name,
        language="kk",
        base=str(world / kind),
        data=data(folder),
        stages=tuple(small(stage) for stage in plan.stages),
        prompts=("қабар",),
        device=Device(kind="cpu", threads=1),
        resources=Resources(
            instruct=str(world / f"{kind}-chat"),
            donor=str(world / "donor"),
            models=(str(world / f"{kind}-chat"),),
        ),
    )
    return JobSpec.from_json(spec.as_json())


def report_of(run: Path) -> dict[str, Any]:
    """The report of a run that has one; what failed where it has none."""
    events, _offset = read_events(run / "events.jsonl")
    failed = [event for event in events if event["kind"] == "failed"]
    assert not failed, failed
    return json.loads((run / "report.json").read_text())


@pytest.mark.parametrize("name", launchable())
def test_a_recipe_runs_to_its_report(
    name: str, world: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    recipe = launchable()[name]
    if "service" in recipe.needs:
        service = request.getfixturevalue("service")
        service.say = staticmethod(teach)
        patch = request.getfixturevalue("monkeypatch")
        patch.setenv("MOTHERTONGUE_TRANSLATOR_URL", service.url)
    if "gpu" in recipe.needs:
        pytest.skip("needs a GPU")
    code = run_job(job(name, world, tmp_path), tmp_path / "run")
    report = report_of(tmp_path / "run")
    assert code == errors.EXIT_SUCCEEDED
    assert math.isfinite(report["bits_per_byte"]["target"]["after"])
    assert Path(report["model"]).is_dir()
    ran = [run["stage"] for run in report["seconds"]["runs"]]
    assert ran == [stage.name for stage in recipe.stages]


def test_recipes_run_on_a_device_that_is_not_the_cpu(
    world: Path, tmp_path: Path
) -> None:
    paths = []
    for name in ON_ANOTHER_DEVICE:
        folder = tmp_path / name
        spec = job(name, world, folder)
        (folder / "spec.json").write_text(json.dumps(spec.as_json()), encoding="utf-8")
        paths += [str(folder / "spec.json"), str(folder / "run")]
    command = [sys.executable, "-m", "tests.training.other_device", *paths]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    for folder in paths[1::2]:
        assert (Path(folder) / "report.json").is_file(), ended.stderr[-3000:]
        report = report_of(Path(folder))
        assert math.isfinite(report["bits_per_byte"]["target"]["after"])
    assert ended.returncode == errors.EXIT_SUCCEEDED, ended.stderr
