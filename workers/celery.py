"""The worker with a broker: `celery -A workers worker -Q gpu`.

Messages say "look" and nothing else (workers/tasks.py); the job's row decides. They are
acknowledged before the work begins: Redis would deliver an hours-long job again. Jobs run
in threads of this one process, each with its engine as a child, so that SIGTERM reaches
all of them and the duties of the host need no process of their own.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import (
    celeryd_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from django.conf import settings
from django.db import DatabaseError
from kombu import Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery("workers", broker=settings.BROKER_URL or None, include=["workers.tasks"])
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_acks_late=False,
    task_queues=[Queue("cpu"), Queue("gpu")],
    task_default_queue="gpu",
    worker_pool="threads",
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,  # no message waits behind a job while a host is idle
    worker_hijack_root_logger=False,
    # Redis may go and come back: go on asking, and leave the running jobs alone.
    broker_connection_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_transport_options={
        "health_check_interval": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
    },
)


@celeryd_init.connect
def set_up(conf: Any, options: dict[str, Any], **_: object) -> None:
    """One thread for each device; refuse to start without a broker."""
    from workers.devices import list_devices

    if not settings.BROKER_URL:
        raise SystemExit(  # any other exception of a hook is only logged
            "MOTHERTONGUE_BROKER_URL is missing. Without a broker: python -m workers."
        )
    queues = options.get("queues") or "cpu,gpu"
    names = queues.split(",") if isinstance(queues, str) else list(queues)
    conf.worker_concurrency = len(list_devices(names, settings.GPUS_PER_JOB))


@worker_ready.connect
def begin(sender: Any, **_: object) -> None:
    """Start the duties of the host: heartbeat, reconciler, uploads, forgotten jobs."""
    from workers.tasks import start_host

    try:
        start_host(sender.hostname, list(sender.app.amqp.queues.consume_from))
    except DatabaseError as problem:
        # A worker without its duties would look alive; whoever started it tries again.
        raise SystemExit(f"The database cannot be used: {problem}") from problem


@worker_shutting_down.connect
def end(**_: object) -> None:
    """SIGTERM: the jobs save a checkpoint; Celery then waits for their threads."""
    from workers.tasks import stop_host

    stop_host()


@worker_shutdown.connect
def wait(**_: object) -> None:
    """Wait for the jobs that no message had started."""
    from workers.tasks import join_host

    join_host()
