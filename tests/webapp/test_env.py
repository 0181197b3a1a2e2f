"""Variables of the environment, and the sentences for bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from webapp import env

NAME = "MOTHERTONGUE_TEST_VARIABLE"


@pytest.mark.parametrize(("value", "read"), [(None, "x"), ("", "x"), ("y", "y")])
def test_an_empty_variable_is_not_set(
    monkeypatch: pytest.MonkeyPatch, value: str | None, read: str
) -> None:
    if value is not None:
        monkeypatch.setenv(NAME, value)
    assert env.text(NAME, "x") == read
    assert env.names(NAME, "x") == [read]


def test_an_empty_number_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "")
    assert env.integer(NAME, 7) == 7
    monkeypatch.setenv(NAME, "seven")
    with pytest.raises(ImproperlyConfigured, match="whole number"):
        env.integer(NAME, 7)


def test_a_secret_may_lie_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("quiet\n")
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "secret"))
    assert env.text(NAME, "x") == "quiet"
