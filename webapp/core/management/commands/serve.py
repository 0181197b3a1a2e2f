"""`manage.py serve`: everything one machine needs, in one terminal.

The site, a worker that polls the database, and the chat runtime. Ctrl-C ends all; running
jobs save a checkpoint first and go on at the next start.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import socket
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from webapp.accounts.services import first_administrator
from webapp.core.processes import Processes, Program

QUICK_GRACE_SECONDS = 8.0
# On top of what a worker gives its jobs to save a checkpoint.
WORKER_EXTRA_SECONDS = 10.0
EVERYWHERE = {"0.0.0.0", "::", ""}  # noqa: S104 compared with, not bound to


class Command(BaseCommand):
    """Start and watch the processes of one machine."""

    help = "Run the site, a worker and the chat runtime until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to listen."""
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        """Check, migrate, start, watch, end."""
        began = time.monotonic()
        refuse_taken_port(host, port)
        call_command("migrate", verbosity=0, interactive=False)
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # else it warns
        link = first_administrator()
        environment = child_environment(host)
        processes = Processes(
            programs(host, port, environment),
            environment=environment,
            logs=settings.DATA / "logs",
            say=self._say,
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self._stop(processes))
        address = f"http://{shown_host(host)}:{port}"

        def ready() -> bool:
            if not answers(host, port):
                return False
            seconds = time.monotonic() - began
            self._say(f"Mothertongue is at {address} (up in {seconds:.1f} s)")
            if link:
                path = reverse("sign-in-link", args=[link.token])
                self._say(f"Sign in for the first time, once: {address}{path}")
            self._say(f"Everything is kept in {settings.DATA}. Ctrl-C ends it.")
            return True

        processes.run(ready)
        self._say("All ended.")

    def _stop(self, processes: Processes) -> None:
        if not processes.stopping.is_set():
            self._say(
                "Ending. Running jobs save a checkpoint, for at most "
                f"{settings.STOP_GRACE_SECONDS} s; Ctrl-C again ends them at once."
            )
        processes.stop()

    def _say(self, line: str) -> None:
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except (BrokenPipeError, OSError):
            return  # the terminal is gone; the logs are kept in files


def programs(host: str, port: int, environment: dict[str, str]) -> list[Program]:
    """What to run here; a part that is not installed is left out."""
    site = ["uvicorn", "webapp.asgi:application", "--host", host, "--port", str(port)]
    site += ["--timeout-graceful-shutdown", "3", "--no-access-log"]
    found = [Program("site", [sys.executable, "-m", *site], QUICK_GRACE_SECONDS)]
    if importlib.util.find_spec("workers") and importlib.util.find_spec("torch"):
        grace = settings.STOP_GRACE_SECONDS + WORKER_EXTRA_SECONDS
        found.append(Program("worker", [sys.executable, "-m", "workers"], grace, True))
        if chat_port := environment.get("MOTHERTONGUE_CHAT_PORT"):
            chat = [sys.executable, "-m", "workers.chat", "--port", chat_port]
            found.append(Program("chat", chat, QUICK_GRACE_SECONDS, True))
    return found


def child_environment(host: str) -> dict[str, str]:
    """This environment, with what the processes must agree upon."""
    environment = dict(os.environ)
    environment["MOTHERTONGUE_DATA"] = str(settings.DATA)
    if "MOTHERTONGUE_CHAT_URL" not in environment:  # else somebody runs one elsewhere
        port = free_port()
        environment["MOTHERTONGUE_CHAT_PORT"] = str(port)
        environment["MOTHERTONGUE_CHAT_URL"] = f"http://127.0.0.1:{port}"
        environment["MOTHERTONGUE_CHAT_TOKEN"] = secrets.token_urlsafe(32)
    if "MOTHERTONGUE_HOSTS" not in environment and not settings.PRODUCTION:
        environment["MOTHERTONGUE_HOSTS"] = ",".join(names_of_this_machine(host))
    return environment


def names_of_this_machine(host: str) -> list[str]:
    """Under which names a browser may ask, where nobody stated them."""
    names = {"localhost", "127.0.0.1", "[::1]"}
    if host in EVERYWHERE:
        name = socket.gethostname().lower()
        names |= {name, f"{name}.local", socket.getfqdn().lower()}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Sends nothing: it only asks which address would be used (RFC 5737).
                probe.connect(("192.0.2.1", 9))
                names.add(probe.getsockname()[0])
            except OSError:
                pass  # no network: this machine alone
    else:
        names.add(f"[{host}]" if ":" in host else host)
    return sorted(name for name in names if "," not in name)


def refuse_taken_port(host: str, port: int) -> None:
    """A sentence instead of a traceback from the site."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OverflowError:
            raise CommandError(f"{port} is not a port: choose 1 to 65535.") from None
        except OSError as problem:
            raise CommandError(
                f"Port {port} on {host} cannot be used ({problem.strerror}). Is "
                f"Mothertongue running already? Else choose another: --port {port + 1}"
            ) from None


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def shown_host(host: str) -> str:
    """The host part of an address to click on."""
    if host in EVERYWHERE:
        return "localhost"
    return f"[{host}]" if ":" in host else host


def answers(host: str, port: int) -> bool:
    """Whether the site accepts connections."""
    try:
        here = {"::": "::1"}.get(host, host if host not in EVERYWHERE else "127.0.0.1")
        socket.create_connection((here, port), timeout=1).close()
    except OSError:
        return False
    return True
