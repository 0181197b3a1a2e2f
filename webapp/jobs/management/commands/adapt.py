"""The main job from a terminal, through the same services as the pages."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from webapp.bases.services import register_folder
from webapp.core import languages
from webapp.core.errors import Refusal
from webapp.datasets.models import Dataset, Kind
from webapp.datasets.services import add_files
from webapp.datasets.words import left_out
from webapp.jobs.models import Job, State
from webapp.jobs.planning.plan import Overrides
from webapp.jobs.planning.situation import GOALS
from webapp.jobs.proposal import ADVISED, Answers, propose
from webapp.jobs.services import launch_job
from webapp.jobs.terminal import Say, model_folder, run_with_worker
from webapp.recipes.catalogue import FIRST, launchable, recipes
from webapp.recipes.reading import RecipeInvalid, parse
from webapp.recipes.recipe import Recipe
from webapp.targets.models import LanguageTarget
from webapp.targets.services import create_target
from webapp.workspaces.models import Workspace

CANCELLED = 130  # the exit code of Ctrl-C
ASK = "advised"  # in place of a recipe's name


class Command(BaseCommand):
    """Teach a base model a language from files of this machine."""

    help = "Teach a base model a language from files of this machine, without a server."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options; their names are a promise."""
        add = parser.add_argument
        add("--language", required=True, metavar="TAG", help="BCP 47, for example sw")
        add("--base", required=True, type=Path, metavar="FOLDER")
        add("--text", type=Path, nargs="+", action="extend", default=[], metavar="FILE")
        add("--parallel", type=Path, nargs="+", action="extend", metavar="FILE")
        add("--instructions", type=Path, nargs="+", action="extend", metavar="FILE")
        add("--protect", type=Path, nargs="+", action="extend", metavar="FILE")
        add("--protected-language", default="en", metavar="TAG")
        add("--preferences", type=Path, nargs="+", action="extend", metavar="FILE")
        add("--dictionary", type=Path, nargs="+", action="extend", metavar="FILE")
        add(
            "--related",
            nargs=2,
            action="append",
            metavar=("TAG", "FILE"),
            help="text of another language that helps along, may be given again",
        )
        add(
            "--instruct",
            type=Path,
            metavar="FOLDER",
            help="the base's instruct sibling",
        )
        add("--donor", type=Path, metavar="FOLDER", help="it knows the language")
        add("--models", type=Path, nargs="+", metavar="FOLDER", help="to merge with")
        add("--target-vectors", type=Path, metavar="FILE", help="word2vec text format")
        add("--base-vectors", type=Path, metavar="FILE")
        add(
            "--recipe",
            default=FIRST,
            metavar="NAME",
            help=f"a recipe's name or a TOML file; {ASK} lets the adviser choose. "
            + ", ".join(launchable()),
        )
        add("--goal", default="answer", choices=GOALS)
        add("--faster", action="store_true", help="speed of writing before quality")
        add("--known", action="store_true", help="the base writes the language already")
        add("--minutes", type=float, default=10.0)
        add("--seed", type=int, default=1)
        add("--set", action="append", default=[], metavar="STAGE.SETTING=VALUE")
        add("--report", type=Path, metavar="FILE", help="where the report is written")
        add("--out", type=Path, metavar="DIR", help="where the model is copied")
        add("--data", type=Path, metavar="DIR", help="the data folder of this run")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the job; the exit code is 0 only where it succeeded."""
        _use_data_folder(options["data"])
        _migrate()
        try:
            job = _launch(options, self._say)
        except Refusal as refusal:
            raise CommandError(refusal.sentence) from refusal
        self.stdout.write(f"job {job.number} ({job.id})")
        # SIGTERM as Ctrl-C; SIGINT too, which a shell's background jobs inherit ignored.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        job = run_with_worker(job, self._say)
        if job.state == State.CANCELLED:
            self.stderr.write("cancelled")
            sys.exit(CANCELLED)
        if job.state != State.SUCCEEDED:
            words = [job.sentence or f"The job is {job.get_state_display()}.", job.hint]
            raise CommandError(" ".join(word for word in words if word))
        report = _report(job, options["out"])
        if options["report"]:
            text = json.dumps(report, indent=1, ensure_ascii=False)
            options["report"].parent.mkdir(parents=True, exist_ok=True)
            options["report"].write_text(text + "\n", encoding="utf-8")
        self.stdout.write(f"model: {report['model']}")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _use_data_folder(folder: Path | None) -> None:
    """Start again with another data folder: settings are read once, at the start."""
    if folder is None or folder.resolve() == Path(settings.DATA):
        return
    os.environ["MOTHERTONGUE_DATA"] = str(folder.resolve())
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 no shell


def _migrate() -> None:
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", verbosity=0)


def _launch(options: dict[str, Any], say: Say = lambda line: None) -> Job:
    """Register what is named and launch; `say` is told what files were not taken, and
    what could go wrong."""
    tags = [options["language"], options["protected_language"]]
    related = [tag for tag, _file in options["related"] or []]
    for tag in [*tags, *related]:
        if not languages.is_known(tag):
            raise Refusal(
                f"{tag!r} is not a language tag; examples are sw, bo and ug-Arab."
            )
    language, protected_language = (languages.describe(tag).tag for tag in tags)
    for tag in related:
        if languages.same_language(tag, language):
            raise Refusal(
                f"--related {tag} is the language itself; give its text with --text."
            )
    workspace, _made = Workspace.objects.get_or_create(
        slug="terminal", defaults={"name": "Terminal"}
    )
    recipe = _recipe(options["recipe"])
    base = register_folder(workspace=workspace, path=options["base"])
    asked: dict[str, Any] = {
        "target": _target(options, workspace, base, language, protected_language, say),
        "answers": Answers(
            minutes=options["minutes"],
            goal=options["goal"],
            faster=options["faster"],
            knows=options["known"],
            seed=options["seed"],
            resources=_resources(options, workspace),
        ),
        "recipe": recipe,
        "overrides": overrides_of(options["set"]),
    }
    for warning in propose(**asked).plan.warnings:
        say(warning)
    return launch_job(user=None, **asked)


def _recipe(asked: str) -> str | Recipe:
    """A name, or what a TOML file holds; a Refusal where it is neither."""
    if asked == ASK:
        return ADVISED
    if not asked.endswith(".toml"):
        if asked not in recipes():
            known = ", ".join(launchable())
            raise Refusal(f"There is no recipe {asked!r}. There are: {known}.")
        return asked
    try:
        return parse(Path(asked).read_text(encoding="utf-8"))
    except UnicodeDecodeError as problem:
        raise Refusal(f"--recipe {asked}: it is not a text in UTF-8.") from problem
    except OSError as problem:
        raise Refusal(f"--recipe {asked}: it cannot be opened.") from problem
    except RecipeInvalid as problem:
        raise Refusal(f"--recipe {asked}: {problem.sentence}") from problem


def _resources(options: dict[str, Any], workspace: Workspace) -> dict[str, Any]:
    """Model folders as bases by id, files of vectors by path."""

    def base(folder: Path) -> str:
        return str(register_folder(workspace=workspace, path=folder).id)

    given: dict[str, Any] = {}
    for name in ("instruct", "donor"):
        if options[name]:
            given[name] = base(options[name])
    if options["models"]:
        given["models"] = [base(folder) for folder in options["models"]]
    for name in ("target_vectors", "base_vectors"):
        if options[name]:
            given[name] = str(options[name].resolve())
    return given


def _target(
    options: dict[str, Any],
    workspace: Workspace,
    base: Any,
    language: str,
    protected_language: str,
    say: Say,
) -> LanguageTarget:
    both = [protected_language, language]

    def dataset(option: str, kind: str, languages: list[str]) -> list[Dataset]:
        return _dataset(workspace, options[option] or [], kind, languages, say)

    related: list[Dataset] = []
    for tag, file in options["related"] or []:
        known = languages.describe(tag).tag
        related += _dataset(workspace, [Path(file)], Kind.MONOLINGUAL, [known], say)

    return create_target(
        workspace=workspace,
        language=language,
        base=base,
        datasets=[
            *dataset("text", Kind.MONOLINGUAL, [language]),
            *dataset("parallel", Kind.PARALLEL, both),
            *dataset("instructions", Kind.INSTRUCTIONS, [language]),
            *dataset("preferences", Kind.PREFERENCES, [language]),
            *dataset("dictionary", Kind.PARALLEL, both),
            *related,
        ],
        protected=dataset("protect", Kind.MONOLINGUAL, [protected_language]),
        protected_language=protected_language,
    )


def _dataset(
    workspace: Workspace,
    paths: list[Path],
    kind: str,
    languages: list[str],
    say: Say,
) -> list[Dataset]:
    if not paths:
        return []
    made = add_files(
        workspace=workspace,
        user=None,
        paths=paths,
        kind=kind,
        languages=languages,
        name=paths[0].name,
    )
    for line in left_out(made.versions.get()):
        say(line)
    return [made]


def overrides_of(settings: list[str]) -> Overrides:
    """--set stage.setting=value as numbers, truth values or words."""
    overrides: Overrides = {}
    for item in settings:
        name, equals, text = item.partition("=")
        stage, dot, setting = name.partition(".")
        if not (equals and dot and setting):
            raise Refusal(f"--set {item}: it must be STAGE.SETTING=VALUE.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        overrides.setdefault(stage, {})[setting] = value
    return overrides


def _report(job: Job, out: Path | None) -> dict[str, Any]:
    """What the engine measured, and where the model is."""
    folder = model_folder(job)
    if folder is None:
        raise CommandError("The job succeeded but left no model on this machine.")
    if out:
        shutil.copytree(folder, out, dirs_exist_ok=True)
        folder = out.resolve()
    return {**job.report, "model": str(folder), "job": str(job.id)}
