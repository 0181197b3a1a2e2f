"""A whole installation in a temporary folder, with real workers as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from webapp.accounts.models import User
from webapp.bases.models import BaseModel
from webapp.jobs import moves
from webapp.jobs.models import Job, State
from webapp.targets.models import LanguageTarget
from webapp.workspaces.models import Workspace

ROOT = Path(__file__).resolve().parents[2]
SCRIPTED = f"{sys.executable} -m tests.workers.scripted"
SHORT = {  # a takeover within seconds instead of a minute
    "MOTHERTONGUE_LEASE_SECONDS": "9",
    "MOTHERTONGUE_LEASE_RENEWAL_SECONDS": "1",
    "MOTHERTONGUE_SELF_FENCE_SECONDS": "7",
    "MOTHERTONGUE_STOP_GRACE_SECONDS": "2",
}
WAIT_SECONDS = 60.0


@dataclass
class Installation:
    """`command` starts a worker of this backend; {name} is its name."""

    data: Path
    database_url: str
    command: list[str]
    broker_url: str = ""
    engine: str = SCRIPTED
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **SHORT,
            "DJANGO_SETTINGS_MODULE": "webapp.settings",
            "MOTHERTONGUE_DATA": str(self.data),
            "DATABASE_URL": self.database_url,
            "MOTHERTONGUE_BROKER_URL": self.broker_url,
            "MOTHERTONGUE_ENGINE": self.engine,
            "OMP_NUM_THREADS": "1",
        }

    def start_worker(
        self, name: str = "one", **environment: str
    ) -> subprocess.Popen[bytes]:
        """A worker of this backend; its log is in `worker_logs`."""
        with (self.data / f"worker-{name}.log").open("ab") as log:
            worker = subprocess.Popen(
                [part.format(name=name) for part in self.command],
                cwd=ROOT,
                env={**self.environment, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(worker)
        return worker

    def worker_logs(self) -> str:
        """The end of every worker's log, for a failed test."""
        parts = [
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.data.glob("worker-*.log"))
        ]
        return "\n".join(parts)

    def make_job(self, script: str, **columns: Any) -> Job:
        """A job in DRAFT whose engine does what `script` says."""
        spec = {
            "job": "x",
            "language": "sw",
            "base": str(self.data),
            "data": {},
            "stages": [{"stage": "evaluate"}],
            "prompts": [script],
        }
        workspace, _ = Workspace.objects.get_or_create(slug="w", defaults={"name": "W"})
        User.objects.get_or_create(email="a@example.org")
        base, _ = BaseModel.objects.get_or_create(
            workspace=workspace, name="base", origin="folder", address=str(self.data)
        )
        target, _ = LanguageTarget.objects.get_or_create(
            workspace=workspace, language="sw", base=base
        )
        values = {"spec": spec, "queue": "gpu", "recipe": "test", **columns}
        return Job.objects.create(
            workspace=workspace,
            target=target,
            number=Job.objects.count() + 1,
            **values,
        )

    def submit(self, script: str, **columns: Any) -> Job:
        """A job that waits."""
        job = self.make_job(script, **columns)
        assert moves.submit(job_id=job.id)
        job.refresh_from_db()
        return job

    def run_dir(self, job: Job) -> Path:
        return self.data / "runs" / str(job.id)

    def wait_for(self, job: Job, *states: State, seconds: float = WAIT_SECONDS) -> Job:
        """The job once it is in one of these states."""

        def there() -> bool:
            job.refresh_from_db()
            return job.state in states

        self.wait_until(there, seconds=seconds, what=lambda: f"it is {job.state}")
        return job

    def wait_until(
        self,
        condition: Callable[[], bool],
        *,
        seconds: float = WAIT_SECONDS,
        what: Callable[[], str] = lambda: "",
    ) -> None:
        """Wait for a condition; fail with the workers' logs."""
        until = time.monotonic() + seconds
        while not condition():
            alive = not self.workers or any(w.poll() is None for w in self.workers)
            in_time = time.monotonic() < until
            assert alive and in_time, f"{what()}\n{self.worker_logs()}"
            time.sleep(0.1)

    def running_step(self, job: Job, step: int) -> None:
        """Wait until the engine has got at least this far."""
        kept = self.run_dir(job) / "step.txt"
        self.wait_until(lambda: kept.exists() and int(kept.read_text()) >= step)

    def engines(self, job: Job | None = None) -> list[int]:
        """Pids of all processes that name the run folder: engines and their children."""
        needle = str(self.run_dir(job) if job else self.data / "runs").encode()
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    line = (folder / "cmdline").read_bytes()
                except OSError:
                    continue
                if needle in line:
                    found.append(int(folder.name))
        return found

    def history(self, job: Job, what: str) -> list[str]:
        """Lines that runs of the stand-in left."""
        path = self.run_dir(job) / "history.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(what)]

    def close(self) -> None:
        """End all workers; by force where they do not go."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(timeout=15)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
