"""The main job from a terminal: what it refuses, and one whole run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.conftest import ROOT
from tests.webapp.jobs.rows import make_job, write_base, write_text
from training.spec import JobSpec
from webapp.core.errors import Refusal
from webapp.jobs.management.commands.adapt import (
    Command,
    _launch,
    _recipe,
    overrides_of,
)
from webapp.jobs.models import Job, JobEvent
from webapp.jobs.terminal import Lines
from webapp.recipes.catalogue import folder
from webapp.recipes.recipe import Recipe

PROMISED = {
    "model",
    "tokenizer",
    "bits_per_byte",
    "samples",
    "seconds",
}


def adapt(*arguments: object, **options: Any) -> None:
    call_command("adapt", *[str(a) for a in arguments], **options)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base that can be registered; nothing loads its weights."""
    return write_base(tmp_path / "base")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--language", "no such tag"], "is not a language tag"),
        (["--language", "sw", "--text", "nowhere.txt"], "There is no file nowhere.txt"),
        (["--language", "sw"], "too little text"),
        (["--language", "sw", "--set", "nonsense"], "STAGE.SETTING=VALUE"),
        (["--language", "sw", "--related", "no tag", "x"], "is not a language tag"),
        (["--language", "sw", "--related", "sw-KE", "x"], "is the language itself"),
        (["--language", "sw", "--related", "rw", "nowhere"], "no file nowhere"),
        (["--language", "sw", "--minutes", "0"], "minutes"),
        (["--language", "sw", "--recipe", "magic"], "no recipe 'magic'"),
        (["--language", "sw", "--recipe", "nowhere.toml"], "nowhere.toml"),
        (["--language", "sw", "--recipe", "x-elm"], "cannot be launched"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    base: Path, arguments: list[str], words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        adapt("--base", base, *arguments)
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_a_base_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no folder"):
        adapt("--language", "sw", "--base", tmp_path / "nowhere")


@pytest.mark.django_db
def test_an_impossible_setting_is_named_before_anything_runs(
    base: Path, tmp_path: Path
) -> None:
    text = write_text(tmp_path / "text.txt")
    same = ("--language", "sw", "--base", base, "--text", text)
    with pytest.raises(CommandError, match=r"“Peak learning rate” .*give at most 0\.1"):
        adapt(*same, "--set", "continue_pretraining.learning_rate=7")
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_files_come_into_the_job_by_role(base: Path, tmp_path: Path) -> None:
    """Launched and not run: what stands in the job."""
    text = write_text(tmp_path / "text.txt")
    other, third = (write_text(tmp_path / f"{n}.txt", 90 + n) for n in (1, 2))
    (tmp_path / "words.tsv").write_text("house\tnyumba\nwater\tmaji\n" * 9)
    better = {"prompt": "Habari?", "chosen": "Nzuri sana.", "rejected": "Sijui."}
    (tmp_path / "better.jsonl").write_text((json.dumps(better) + "\n") * 9)
    asked = ["--language", "sw", "--base", base, "--text", text, "--recipe", "default"]
    asked += ["--related", "rw", other, "--related", "ln", third]
    asked += ["--dictionary", tmp_path / "words.tsv"]
    asked += ["--preferences", tmp_path / "better.jsonl"]
    parser = Command().create_parser("manage.py", "adapt")
    said: list[str] = []
    job = _launch(vars(parser.parse_args([str(word) for word in asked])), said.append)
    assert any("characters of text" in line for line in said), "the plan's warnings"
    data = JobSpec.from_json(job.spec).data
    assert [corpus.languages for corpus in data.related] == [("rw",), ("ln",)]
    assert [corpus.name for corpus in data.dictionary] == ["words.tsv"]
    assert [corpus.kind for corpus in data.preferences] == ["preferences"]
    assert len(data.target) == 1 and not data.parallel


def test_settings_of_the_command_line_become_numbers_and_words() -> None:
    assert overrides_of(["merge.tolerance=0.1", "a.b=keep", "a.c=true", "a.d=3"]) == {
        "merge": {"tolerance": 0.1},
        "a": {"b": "keep", "c": True, "d": 3},
    }
    for wrong in ("a.b", "=1", "a=1", "."):
        with pytest.raises(Refusal):
            overrides_of([wrong])


@pytest.mark.django_db
def test_each_thing_that_happened_is_said_once() -> None:
    job = make_job("running", step=5, total=10, stage="merge", seconds_left=3)
    for kind, payload in (
        ("stage_started", {}),
        ("evaluation", {"target_bits_per_byte": 2.5, "protected_bits_per_byte": None}),
        ("note", {"sentence": "It is well."}),
        ("job_started", {}),
    ):
        JobEvent.objects.create(
            job=job,
            epoch=1,
            time=job.created_at,
            kind=kind,
            stage="merge",
            step=5,
            payload=payload,
        )
    lines = Lines(job)
    assert lines.new() == [
        "merge ...",
        "  merge 5: 2.500 bits per byte",
        "  It is well.",
        "  merge: 5 / 10, 3 s left",
    ]
    assert lines.new() == []


@pytest.fixture
def small_world(tmp_path: Path) -> Iterator[list[str]]:
    """The command for a job of seconds, in a data folder of its own."""
    from tests.training import tiny

    base = tiny.base(tmp_path / "base")
    text = tmp_path / "kk.txt"
    text.write_text("\n\n".join(tiny.documents(200)), encoding="utf-8")
    english = tmp_path / "en.txt"
    english.write_text(
        "\n\n".join(tiny.documents(200, script="latin")), encoding="utf-8"
    )
    yield [
        *(sys.executable, "manage.py", "adapt", "--language", "kk"),
        *("--base", str(base), "--text", str(text), "--protect", str(english)),
        *("--data", str(tmp_path / "data")),
    ]


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "DATABASE_URL": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


@pytest.mark.slow
def test_a_whole_job_without_a_server(small_world: list[str], tmp_path: Path) -> None:
    report, out = tmp_path / "reports" / "report.json", tmp_path / "model"
    settings = ["--minutes", "0.3", "--set", "continue_pretraining.steps=12"]
    done = run([*small_world, *settings, "--report", str(report), "--out", str(out)])
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(report.read_text(encoding="utf-8"))
    assert PROMISED <= set(written)
    assert Path(written["model"]) == out.resolve()
    assert (out / "model.safetensors").is_file()
    target = written["bits_per_byte"]["target"]
    assert target["after"] < target["before"]
    assert {"before", "after"} <= set(written["bits_per_byte"]["protected"])
    assert {"total", "stages"} <= set(written["seconds"])
    assert "model:" in done.stdout


@pytest.mark.slow
def test_ctrl_c_cancels_and_leaves_no_process(small_world: list[str]) -> None:
    with subprocess.Popen(
        [*small_world, "--minutes", "5"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "DATABASE_URL": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("prepare ..."):
                process.send_signal(2)  # SIGINT
    assert process.returncode == 130, "".join(said)
    (id,) = re.findall(r"\(([0-9a-f]{8}-[0-9a-f-]{27})\)", "".join(said))[:1]
    processes = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout
    assert id not in processes


def test_a_recipe_may_be_a_file(tmp_path: Path) -> None:
    assert _recipe("advised") == ""  # the adviser chooses
    assert _recipe("lora") == "lora"
    text = (folder() / "lora.toml").read_text(encoding="utf-8")
    file = tmp_path / "ours.toml"
    file.write_text(text.replace('name = "lora"', 'name = "ours"'))
    recipe = _recipe(str(file))
    assert isinstance(recipe, Recipe) and recipe.name == "ours"
    file.write_text(text.replace("lora_rank = 64", "lora_rank = 0"))
    with pytest.raises(Refusal, match="Line 20"):
        _recipe(str(file))


@pytest.mark.django_db
def test_a_broken_line_is_named_with_what_was_kept(base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "stories.jsonl"
    broken.write_text('{"text": "abc"}\n{"text": broken\n')
    out = StringIO()
    with pytest.raises(CommandError, match="too little text"):
        adapt("--base", base, "--language", "sw", "--text", broken, stdout=out)
    said = out.getvalue()
    assert "stories.jsonl, line 2: left out, not valid JSON" in said
    assert "stories.jsonl: kept 1 row with 3 characters" in said
    broken.write_text('{"text": "abc"}\n' + "nonsense\n" * 9)
    with pytest.raises(CommandError, match="too little text"):
        adapt("--base", base, "--language", "sw", "--text", broken, stdout=out)
    assert "and 4 more rows were left out" in out.getvalue()
    whole = StringIO()
    broken.write_text('{"text": "abc"}\n')
    with pytest.raises(CommandError, match="too little text"):
        adapt("--base", base, "--language", "sw", "--text", broken, stdout=whole)
    assert whole.getvalue() == ""
