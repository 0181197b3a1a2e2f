"""Typed readers of environment variables. A bad value stops the start with a sentence."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str = "") -> str:
    """The variable, or the contents of the file that `<name>_FILE` names (secrets).

    An empty variable, as .env.example has them, is one that is not set.
    """
    if file := os.environ.get(f"{name}_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    return os.environ.get(name) or default


def flag(name: str, default: bool = False) -> bool:
    """1/0, true/false, yes/no."""
    value = text(name, "1" if default else "0").lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("0", "false", "no", "off", ""):
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0, not {value!r}.")


def integer(name: str, default: int) -> int:
    """A whole number."""
    value = text(name, str(default))
    try:
        return int(value)
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} must be a whole number, not {value!r}."
        ) from None


def names(name: str, default: str = "") -> list[str]:
    """A list separated by commas."""
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def database(url: str, data: Path, *, idle_seconds: int = 60) -> dict[str, object]:
    """Django's database settings from a URL; without one, SQLite in the data folder.

    SQLite's options were measured: without WAL, immediate transactions, synchronous
    NORMAL and a long timeout, two writers end in "database is locked". PostgreSQL ends a
    transaction in which nothing happens for `idle_seconds`: a process that is stopped, or
    cut off, within one would keep its job's row from everybody else for hours.
    """
    if not url:
        url = f"sqlite:///{data / 'db.sqlite3'}"
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(
                parts.path[1:] if parts.path.startswith("//") else parts.path
            ),
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured(
            f"DATABASE_URL must begin with postgresql:// or sqlite://, not {parts.scheme}://."
        )
    query = dict(parse_qsl(parts.query))
    idle = f"-c idle_in_transaction_session_timeout={idle_seconds}s"
    options = f"{idle} {query.get('options', '')}"
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**query, "options": options.strip()},
    }
