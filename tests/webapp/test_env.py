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


def test_what_the_address_asks_of_postgresql_is_kept() -> None:
    url = "postgresql://me:se%40cret@db/house?sslmode=require&options=-c%20lock_timeout%3D5s"
    found = env.database(url, Path(), idle_seconds=9)
    assert found["PASSWORD"] == "se@cret"
    assert found["OPTIONS"] == {
        "sslmode": "require",
        "options": "-c idle_in_transaction_session_timeout=9s -c lock_timeout=5s",
    }
