"""The rooms and which way the arrows point (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = {"training.spec", "training.events", "training.errors"}
# Behind `training.spec`: settings stand in files of their own, one per stage.
SETTINGS = sorted((ROOT / "training" / "settings").glob("*.py"))
ML = {"torch", "transformers", "peft", "trl", "datasets", "accelerate"}
SITE = {"django", "celery", "redis", "gradio", "uvicorn", "starlette", "fastapi"}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module of a file, those inside functions too, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "." * node.level, node.lineno


def forbidden(module: str, room: str, path: Path) -> str | None:
    """Why a file of `room` may not import `module`; None where it may."""
    top = module.split(".")[0]
    if module.startswith("."):
        return "imports are absolute"
    if room == "training" and (top in SITE or top in {"webapp", "workers"}):
        return "the engine knows no site, no queue and no web framework"
    if room == "webapp":
        if top == "workers":
            return "the site does not know the workers"
        if top in ML:
            return "the web process holds no ML library"
        if top == "training" and ".".join(module.split(".")[:2]) not in CONTRACT:
            return "the site reads only the contract of the engine"
        if top == "gradio" and "playground" not in path.parts:
            return "gradio belongs to the playground"
    if room == "workers" and top in ML and "chat" not in path.parts:
        return "the supervisor's process must not hold an ML library"
    return None


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ["training", "webapp", "workers"])
def test_arrows_go_one_way(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}: {why}"
        for path in files(room)
        for module, line in imports(path)
        if module != "training"
        and (why := forbidden(module, room, path.relative_to(ROOT)))
    ]
    assert files(room)
    assert not wrong, "\n".join(wrong)


def test_the_check_of_arrows_can_fail() -> None:
    inside = Path("webapp/jobs/views.py")
    assert forbidden("torch.nn", "webapp", inside)
    assert forbidden("workers.supervisor", "webapp", inside)
    assert forbidden("training.run", "webapp", inside)
    assert forbidden("gradio", "webapp", inside)
    assert forbidden("django.db", "training", Path("training/run.py"))
    assert forbidden("torch", "workers", Path("workers/supervisor.py"))
    assert not forbidden("training.spec.JobSpec", "webapp", inside)
    assert not forbidden("torch", "workers", Path("workers/chat/runtime.py"))


@pytest.mark.parametrize(
    "path",
    [*(ROOT / "training" / f"{m}.py" for m in ("spec", "events", "errors")), *SETTINGS],
    ids=lambda path: path.stem,
)
def test_the_contract_needs_only_the_standard_library(path: Path) -> None:
    import sys

    known = {*CONTRACT, "training.settings"}
    for name, line in imports(path):
        top = name.split(".")[0]
        assert (
            top in sys.stdlib_module_names
            or name == "training"
            or (".".join(name.split(".")[:2]) in known)
        ), f"{path}:{line} imports {name}"


def test_no_app_uses_anothers_private_names() -> None:
    wrong = []
    for room in ("webapp", "workers", "training"):
        for path in files(room):
            for module, line in imports(path):
                name = module.split(".")[-1]
                private = name.startswith("_") and not name.startswith("__")
                home = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
                if private and module.startswith(("webapp", "workers", "training")):
                    if not module.startswith(home):
                        wrong.append(f"{path.relative_to(ROOT)}:{line} {module}")
    assert not wrong, "\n".join(wrong)
