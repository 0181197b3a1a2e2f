"""Small files with plain names, docstrings where they are owed, a README that matches."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BANNED = {"utils", "helpers", "common", "misc", "manager", "managers"}
LIMITS = {"webapp": (300, 45), "workers": (300, 45), "training": (500, 70)}
# Data, not program: every setting of every stage with its words, in one place.
LONG_FILES = {"training/settings/continue_pretraining.py"}
WRITES = {"save", "create", "update", "bulk_create", "get_or_create", "delete"}


def tracked(pattern: str) -> list[Path]:
    answer = subprocess.run(
        ["git", "ls-files", "-z", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in answer.stdout.split("\0") if name]


@pytest.mark.parametrize("room", LIMITS)
def test_files_and_functions_are_small(room: str) -> None:
    most_lines, most_function = LIMITS[room]
    wrong = []
    for path in (ROOT / room).rglob("*.py"):
        if "migrations" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        long = (lines := text.count("\n")) > most_lines
        if long and name.as_posix() not in LONG_FILES:
            wrong.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > most_function:
                    wrong.append(f"{name}:{node.name}: {length} lines")
    assert not wrong, "\n".join(wrong)


def test_no_module_is_named_after_nothing() -> None:
    for room in LIMITS:
        for path in (ROOT / room).rglob("*.py"):
            assert path.stem not in BANNED, path


@pytest.mark.parametrize("room", ["training", "workers"])
def test_every_module_says_what_it_is(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if text.strip() and "migrations" not in path.parts:
            assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def test_views_do_not_write() -> None:
    wrong = []
    for path in (ROOT / "webapp").rglob("views.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in WRITES:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong, wrong


def test_services_take_named_annotated_arguments() -> None:
    wrong = []
    for path in (ROOT / "webapp").rglob("services.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            named = node.args.kwonlyargs
            if node.args.args or node.returns is None:
                wrong.append(f"{path.relative_to(ROOT)}:{node.name}")
            elif any(argument.annotation is None for argument in named):
                wrong.append(f"{path.relative_to(ROOT)}:{node.name}")
    assert not wrong, wrong


def test_no_path_of_one_machine() -> None:
    for path in tracked("*"):
        if (
            path.suffix in {".woff2", ".safetensors", ".png", ".gz"}
            or not path.is_file()
        ):
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        found = re.search(r"(?<![\w.])/(?:work|root|home/\w+)/", text)
        assert not found or path == Path(__file__), f"{path}: {found and found.group()}"


def test_the_readme_maps_what_is_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```map\n(.*?)```", readme, re.S)
    assert block, "README.md has no ```map block"
    mapped = {
        line.split()[0].rstrip("/") for line in block.group(1).splitlines() if line
    }
    top = {path.relative_to(ROOT).parts[0] for path in tracked("*")}
    assert {name for name in top if not name.startswith(".")} == {
        name for name in mapped if not name.startswith(".")
    }


# What `manage.py serve` tells its own children; nobody sets it.
INTERNAL = {"MOTHERTONGUE_CHAT_PORT"}


def test_every_variable_stands_in_the_example_and_is_read() -> None:
    """docs/operations.md promises it."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    shown = set(re.findall(r"^(MOTHERTONGUE_\w+)=", example, re.M))
    sources = [ROOT / "start", ROOT / "docker" / "environment.sh"]
    sources += [p for room in LIMITS for p in (ROOT / room).rglob("*.py")]
    read: set[str] = set()
    for path in sources:
        read |= set(re.findall(r"\bMOTHERTONGUE_[A-Z_]+", path.read_text("utf-8")))
    read = {name for name in read if not name.endswith("_")} - INTERNAL  # no prefixes
    assert len(read) > 20
    assert shown == read


def test_every_test_file_is_collected_by_name() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        names = [
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
        ]
        if names:
            assert path.name.startswith("test_"), f"{path} holds tests but is not run"
