"""`python -m workers.chat [--host 127.0.0.1] [--port 8601]`: start the chat runtime."""

from __future__ import annotations

import argparse
import os
import sys

import django


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m workers.chat", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8601)
    parser.add_argument("--models", type=int, default=2, help="in memory at once")
    parser.add_argument(
        "--idle", type=float, default=600, help="seconds to keep a model"
    )
    parser.add_argument("--threads", type=int, default=0, help="0: half of the cores")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in training/__main__.py
    django.setup()

    # Only now: these bring torch, and need Django's settings.
    import torch
    import uvicorn

    from webapp.jobs.models import HELD, Job
    from webapp.playground.runtime import runtime_token
    from workers.chat.loaded import LoadedModels
    from workers.chat.server import make_app

    # Half of the cores: a chat must not stop the training beside it.
    torch.set_num_threads(options.threads or max(1, (os.cpu_count() or 2) // 2))
    models = LoadedModels(
        most=options.models,
        idle_seconds=options.idle,
        busy=lambda: Job.objects.filter(state__in=HELD).exists(),
    )
    app = make_app(models, runtime_token())
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
