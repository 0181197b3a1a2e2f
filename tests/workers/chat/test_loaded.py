"""Which models are in memory, and when memory is given back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.training import tiny
from training.data import romanise
from training.errors import InputMissing
from workers.chat.loaded import LoadedModels, as_taught

pytestmark = pytest.mark.slow  # needs torch

QUESTION = [{"role": "user", "content": "bako"}]
SAMPLING = {"max_tokens": 4, "temperature": 0.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("models")
    return [tiny.base(place / name) for name in ("a", "b", "c")]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def ask(models: LoadedModels, folder: Path) -> str:
    return "".join(models.answer(folder, QUESTION, threading.Event(), SAMPLING))


@pytest.mark.slow
def test_the_least_recently_used_model_goes_first(folders: list[Path]) -> None:
    models = LoadedModels(most=2)
    ask(models, folders[0])
    ask(models, folders[1])
    ask(models, folders[0])
    ask(models, folders[2])
    assert models.in_memory() == [folders[0], folders[2]]


@pytest.mark.slow
def test_an_idle_model_is_given_back_and_loaded_again(folders: list[Path]) -> None:
    clock = Clock()
    models = LoadedModels(idle_seconds=100, clock=clock)
    before = ask(models, folders[0])
    clock.now = 99
    assert models.give_back() == 0
    clock.now = 100
    assert models.give_back() == 1
    assert models.in_memory() == []
    assert ask(models, folders[0]) == before


@pytest.mark.slow
def test_memory_is_given_back_sooner_when_training_wants_it(
    folders: list[Path],
) -> None:
    clock, busy = Clock(), threading.Event()
    models = LoadedModels(
        idle_seconds=1_000, idle_seconds_when_busy=10, busy=busy.is_set, clock=clock
    )
    ask(models, folders[0])
    clock.now = 20
    assert models.give_back() == 0
    busy.set()
    assert models.give_back() == 1


def test_a_stop_ends_the_answer_and_frees_the_turn(folders: list[Path]) -> None:
    models = LoadedModels()
    stop = threading.Event()
    long = {"max_tokens": 200, "temperature": 1.0, "seed": 3}
    writing = models.answer(folders[0], QUESTION, stop, long)
    next(writing)
    stop.set()
    assert len(list(writing)) <= 2
    assert ask(models, folders[1]) is not None  # the turn is free


def test_leaving_an_answer_early_frees_the_turn(folders: list[Path]) -> None:
    models = LoadedModels()
    writing = models.answer(
        folders[0], QUESTION, threading.Event(), {"max_tokens": 200, "temperature": 1.0}
    )
    next(writing)
    assert models.give_back() == 0
    writing.close()
    models.idle_seconds = 0
    assert models.give_back() == 1


def test_a_romanised_model_is_asked_in_latin_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(romanise, "romanise", lambda text: text.replace("қ", "q"))
    said = [{"role": "user", "content": "қала"}]
    assert as_taught(tmp_path, said) == said
    (tmp_path / romanise.FILE).write_text("{}")
    assert as_taught(tmp_path, said) == [{"role": "user", "content": "qала"}]

    def missing(text: str) -> str:
        raise InputMissing("There is no library.")

    monkeypatch.setattr(romanise, "romanise", missing)
    assert as_taught(tmp_path, said) == said
