"""docker-compose.yml, the images and what runs in them, as far as it goes without Docker.

Checked: the file against the rules of the Compose Specification that it uses, that what
it names exists, its variables, what the images contain, and that every command of ours
starts in production from such a tree and answers. Not checked: that the images build and
the foreign images (PostgreSQL, Redis, MinIO) can be fetched and accept their commands,
networks and volumes of Docker, GPU reservations, and the object store itself.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import missing

ROOT = Path(__file__).resolve().parent.parent
POSTGRESQL = os.environ.get(
    "MOTHERTONGUE_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432"
)
DATABASE = "mothertongue_test_compose"
REDIS = os.environ.get("MOTHERTONGUE_TEST_COMPOSE_REDIS", "redis://127.0.0.1:6379/12")
START_SECONDS = 240
END_SECONDS = 60
OURS = ("mothertongue-web", "mothertongue-worker")
TRAINING_LIBRARIES = {"torch", "transformers", "peft", "trl", "accelerate", "datasets"}

TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
DURATION = {"type": "string", "pattern": r"^(\d+(us|ms|s|m|h))+$"}


def strict(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """An object that may hold these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


DEVICE = strict({"driver": TEXT, "count": {}, "capabilities": TEXTS}, "capabilities")
SERVICE = strict(
    {
        "image": {"type": "string", "pattern": r"^[a-z0-9./_-]+(:[\w.-]+)?$"},
        "build": strict({"context": TEXT, "dockerfile": TEXT, "args": {}}, "context"),
        "command": TEXTS,
        "entrypoint": TEXTS,
        "env_file": TEXT,
        "environment": {
            "type": "object",
            "additionalProperties": {"type": "string"},
        },
        "ports": {
            "type": "array",
            "items": {"type": "string", "pattern": r"^([\d.]+:)?\d{1,5}:\d{1,5}$"},
        },
        "volumes": {
            "type": "array",
            "items": {"type": "string", "pattern": r"^[a-z]+:/[\w/]+$"},
        },
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "profiles": TEXTS,
        "stop_grace_period": DURATION,
        "depends_on": {
            "type": "object",
            "additionalProperties": strict(
                {
                    "condition": {
                        "enum": [
                            "service_started",
                            "service_healthy",
                            "service_completed_successfully",
                        ]
                    }
                },
                "condition",
            ),
        },
        "healthcheck": strict(
            {
                "test": {
                    "type": "array",
                    "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}],
                    "minItems": 2,
                },
                "interval": DURATION,
                "timeout": DURATION,
                "start_period": DURATION,
                "retries": {"type": "integer", "minimum": 1},
            },
            "test",
        ),
        "deploy": strict(
            {
                "resources": strict(
                    {
                        "reservations": strict(
                            {"devices": {"type": "array", "items": DEVICE}}
                        )
                    }
                )
            }
        ),
    },
    "image",
)
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
    },
    "patternProperties": {"^x-": {}},
    "required": ["services"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file, with its anchors merged and its variables as they stand."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def example() -> dict[str, str]:
    """Names and defaults of .env.example."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines if line and line[0] != "#"]
    return {name: value for name, value in pairs}


# --- The file -------------------------------------------------------------------------


def test_the_file_is_as_the_specification_wants_it(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, SCHEMA)


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ("web", "comand", ["x"]),
        ("web", "ports", ["http:8000"]),
        ("web", "restart", False),
        ("database", "healthcheck", {"interval": "5s"}),
        ("migrate", "depends_on", {"database": {"condition": "healthy"}}),
    ],
)
def test_what_the_specification_forbids_is_seen(
    compose: dict[str, Any], service: str, key: str, value: Any
) -> None:
    wrong = json.loads(json.dumps(compose))
    wrong["services"][service][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_what_it_names_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, wish in service.get("depends_on", {}).items():
            assert other in services, f"{name} waits for {other}"
            assert not services[other].get("profiles"), f"{other} may not be started"
            if wish["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{other} is never healthy"
            if wish["condition"] == "service_completed_successfully":
                assert services[other]["restart"] == "no", f"{other} never completes"
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        else:
            assert ":" in service["image"], f"{name}: an image without a version"
    ports = [port for s in services.values() for port in s.get("ports", [])]
    assert len({port.split(":")[0] for port in ports}) == len(ports)


def test_each_profile_has_what_an_installation_needs(compose: dict[str, Any]) -> None:
    services = compose["services"]
    always = {name for name, service in services.items() if not service.get("profiles")}
    assert {"web", "playground", "chat", "database", "broker", "store"} <= always
    assert "migrate" in always
    for profile in ("cpu", "gpu"):
        asked = [n for n, s in services.items() if profile in s.get("profiles", [])]
        assert asked == [f"worker-{profile}"]
    assert "deploy" in services["worker-gpu"]
    assert "deploy" not in services["worker-cpu"]


def test_services_address_each_other_by_name(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if service["image"] not in OURS:
            continue
        for variable, value in service["environment"].items():
            if found := re.search(r"//(?:[^@/]*@)?([a-z-]+):\d+", value):
                assert found[1] in compose["services"], f"{name}: {variable}"


def test_its_variables_are_in_the_example(compose: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    asked = dict(re.findall(r"\$\{(\w+)(?::[-?]([^}]*))?\}", text))
    assert {"POSTGRES_PASSWORD", "STORE_PASSWORD"} <= set(asked)  # control
    known = example()
    assert set(asked) <= set(known)
    given = compose["services"]["web"]["environment"]
    assert set(given) - {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= set(known)


def test_every_variable_of_the_settings_is_in_the_example() -> None:
    read = set()
    for path in (ROOT / "webapp").rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        read |= set(re.findall(r'env\.\w+\(\s*"(\w+)"', code))
    assert "DATABASE_URL" in read  # control
    assert read <= set(example())


# --- The images -----------------------------------------------------------------------


def dockerfile(image: str) -> str:
    """The instructions of an image's Dockerfile, each on one line."""
    text = (ROOT / f"docker/{image}.Dockerfile").read_text(encoding="utf-8")
    return re.sub(r"\\\n\s*", "", text)


def copied(image: str) -> list[str]:
    """What an image copies out of the repository."""
    found = []
    for line in re.findall(r"^COPY (.+)$", dockerfile(image), re.MULTILINE):
        found += line.split()[:-1]
    return found


def ignored() -> list[str]:
    """Patterns of .dockerignore, which begin at the root of the repository."""
    return (ROOT / ".dockerignore").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("image", ["web", "worker"])
def test_an_image_copies_what_exists_and_is_not_ignored(image: str) -> None:
    names = copied(image)
    assert "webapp" in names  # control
    for name in names:
        assert (ROOT / name).exists(), name
        assert not any(fnmatch.fnmatch(name, pattern) for pattern in ignored()), name


def requirements(group: str) -> list[Requirement]:
    """A dependency group of pyproject.toml with the groups that it includes."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    groups = tomllib.loads(text)["dependency-groups"]
    found: list[Requirement] = []
    for entry in groups[group]:
        if isinstance(entry, dict):
            found += requirements(entry["include-group"])
        else:
            found.append(Requirement(entry))
    return found


def closure(wanted: list[Requirement]) -> set[str]:
    """Canonical names of distributions that come with these, by what is installed."""
    found: set[str] = set()
    waiting = [(canonicalize_name(w.name), frozenset(w.extras)) for w in wanted]
    seen = set()
    while waiting:
        pair = waiting.pop()
        if pair in seen:
            continue
        seen.add(pair)
        name, extras = pair
        found.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if not need.marker or any(map(need.marker.evaluate, environments)):
                waiting.append((canonicalize_name(need.name), frozenset(need.extras)))
    return found


def test_the_web_image_has_no_torch() -> None:
    assert "--group web " in dockerfile("web")
    assert not closure(requirements("web")) & TRAINING_LIBRARIES
    with_training = closure(requirements("worker"))
    assert with_training >= TRAINING_LIBRARIES  # control


def test_everything_that_is_asked_for_is_pinned() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if re.match(r"^[A-Za-z0-9]", line)]
    locked = {canonicalize_name(pin.name): str(pin.specifier) for pin in pins}
    for wish in requirements("worker"):
        name = canonicalize_name(wish.name)
        assert str(wish.specifier).startswith("=="), wish
        if name != "torch":  # by itself, from the index for the host's devices
            assert locked[name] == str(wish.specifier), wish


# --- What runs in them ----------------------------------------------------------------

# What an image does not install cannot be imported in it.
BLOCKER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError("not in this image: " + name, name=name)

sys.meta_path.insert(0, Blocked())
"""


class Image:
    """The tree of an image's COPY lines, with the production environment around it."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        environment = dict(environment)
        self.tree = folder / "app"
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.tree.mkdir()
        for entry in copied(name):
            source, place = ROOT / entry, self.tree / entry
            if source.is_dir():
                no_caches = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, place, ignore=no_caches)
            else:
                shutil.copy(source, place)
        extra = folder / "extra"
        extra.mkdir()
        if name == "web":
            blocker = BLOCKER.format(names=TRAINING_LIBRARIES)
            (extra / "sitecustomize.py").write_text(blocker, encoding="utf-8")
        for variable, value in environment.items():
            environment[variable] = value.replace("/app/", f"{self.tree}/")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MOTHERTONGUE")},
            **environment,
            "MOTHERTONGUE_DATA": str(self.data),
            "PYTHONPATH": str(extra),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def run(self, command: list[str], **more: str) -> str:
        """A command to its end; what it printed. An empty variable is not there."""
        unset = {name for name, value in more.items() if not value}
        both = {**self.environment, **more}
        environment = {name: both[name] for name in both if name not in unset}
        ended = subprocess.run(
            command,
            cwd=self.tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    @contextmanager
    def running(self, command: list[str]) -> Iterator[Callable[[], str]]:
        """A command while the context lasts, then SIGTERM; yields what it printed."""
        log = self.data.parent / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self.tree,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def said() -> str:
            assert process.poll() is None, log.read_text(errors="replace")
            return log.read_text(errors="replace")

        try:
            yield said
            process.send_signal(signal.SIGTERM)
            process.wait(END_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def production(compose: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The environment of the site's services, with the addresses of this machine."""
    import psycopg
    import redis

    try:
        server = psycopg.connect(
            f"{POSTGRESQL}/postgres", connect_timeout=3, autocommit=True
        )
        redis.Redis.from_url(REDIS, socket_connect_timeout=3).ping()
    except (psycopg.OperationalError, redis.RedisError) as problem:
        missing(f"PostgreSQL or Redis does not answer: {problem}")
    server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    server.execute(f"CREATE DATABASE {DATABASE}")
    here = {
        "DATABASE_URL": f"{POSTGRESQL}/{DATABASE}",
        "MOTHERTONGUE_BROKER_URL": REDIS,
        "MOTHERTONGUE_CHAT_URL": "http://127.0.0.1:9",
        "MOTHERTONGUE_BUCKET": "",
        "MOTHERTONGUE_BUCKET_ENDPOINT": "",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    given = dict(compose["services"]["web"]["environment"])
    assert set(here) <= set(given)  # control: these are what the file sets
    yield {
        **example(),  # a copy of it is the .env
        **given,
        **here,
        "MOTHERTONGUE_SECRET_KEY": "a-long-random-text-" * 4,
        "MOTHERTONGUE_HOSTS": "site.example.org",
        "MOTHERTONGUE_ORIGINS": "https://site.example.org",
        "MOTHERTONGUE_CHAT_TOKEN": "shared",
    }
    redis.Redis.from_url(REDIS).flushdb()
    server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    server.close()


@pytest.fixture(scope="module")
def web(production: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The web image's tree after its RUN lines that are ours, with a database."""
    image = Image("web", tmp_path_factory.mktemp("web"), production)
    build = r"RUN ((?:\w+=\S+ )*)python manage.py (collectstatic.*)$"
    found = re.search(build, dockerfile("web"), re.MULTILINE)
    assert found
    here = {"/tmp/build": str(image.data.parent / "build"), "/app": str(image.tree)}
    given = found[1]
    for there, place in here.items():
        given = given.replace(f"={there}", f"={place}")
    # While the image is built there is no environment of the installation.
    only = {
        **dict.fromkeys(production, ""),
        **dict(p.split("=") for p in given.split()),
    }
    image.run(["python", "manage.py", *shlex.split(found[2])], **only)
    image.run(compose_command("migrate"))
    return image


@pytest.fixture(scope="module")
def worker(
    web: Image, production: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Image:
    """The worker image's tree; its database is migrated."""
    return Image("worker", tmp_path_factory.mktemp("worker"), production)


def compose_command(service: str) -> list[str]:
    """The command of a service as the file has it."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    return list(yaml.safe_load(text)["services"][service]["command"])


def on_port(command: list[str], port: int) -> list[str]:
    """The same on an address of this test."""
    command = list(command)
    command[command.index("--port") + 1] = str(port)
    command[command.index("--host") + 1] = "127.0.0.1"
    return command


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Status and body, asked as a proxy that ends TLS does; 0 while nobody is there."""
    given = {"Host": "site.example.org", "X-Forwarded-Proto": "https", **headers}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=given)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode(errors="replace")
    except OSError:
        return 0, ""


def wait_for(what: Callable[[], object], said: Callable[[], str]) -> None:
    until = time.monotonic() + START_SECONDS
    while not what():
        assert time.monotonic() < until, said()
        time.sleep(0.3)


@pytest.mark.service
@pytest.mark.parametrize("service", ["web", "playground"])
def test_the_site_starts_in_production(web: Image, service: str) -> None:
    port = free_port()
    with web.running(on_port(compose_command(service), port)) as said:
        wait_for(lambda: fetch(port, "/sign-in/")[0], said)
        status, page = fetch(port, "/sign-in/")
        assert status == 200, said()
        sheets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        assert sheets
        for sheet in sheets:
            assert fetch(port, sheet)[0] == 200, sheet
        assert fetch(port, "/playground/")[0] == 401
        # Controls: another name is refused, and a request without TLS is sent to it.
        assert fetch(port, "/sign-in/", Host="elsewhere.example.org")[0] == 400
        assert "torch" not in said()


@pytest.mark.service
def test_the_worker_starts_in_production(worker: Image) -> None:
    command = compose_command("worker-cpu")
    assert command == compose_command("worker-gpu")
    import psycopg

    with psycopg.connect(f"{POSTGRESQL}/{DATABASE}", autocommit=True) as rows:
        seen = "SELECT count(*) FROM jobs_host WHERE seen_at > now() - interval '30 s'"
        assert rows.execute(seen).fetchone() == (0,)  # control
        with worker.running(command) as said:
            wait_for(lambda: rows.execute(seen).fetchone() == (1,), said)
            assert f"transport:   {REDIS.split('@')[0].split('//')[0]}//" in said()
            assert "Traceback" not in said()


@pytest.mark.service
def test_the_chat_runtime_starts_in_production(worker: Image) -> None:
    port = free_port()
    with worker.running(on_port(compose_command("chat"), port)) as said:
        wait_for(lambda: fetch(port, "/health")[0] == 200, said)
        assert fetch(port, "/v1/models")[0] == 401
        token = {"Authorization": "Bearer shared"}
        assert fetch(port, "/v1/models", **token)[0] == 200


@pytest.mark.service
def test_the_deployment_check_has_no_complaint(web: Image) -> None:
    check = ["python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    web.run(check)
    with pytest.raises(AssertionError, match="security"):  # control
        web.run(check, MOTHERTONGUE_PRODUCTION="0")


@pytest.mark.service
@pytest.mark.parametrize("name", ["MOTHERTONGUE_SECRET_KEY", "MOTHERTONGUE_HOSTS"])
def test_production_does_not_start_without(web: Image, name: str) -> None:
    with pytest.raises(AssertionError, match=f"{name} is missing"):
        web.run(["python", "manage.py", "check"], **{name: ""})
