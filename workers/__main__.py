"""The worker without a broker: `python -m workers`.

    python -m workers               run jobs as they come, until SIGTERM or Ctrl-C
    python -m workers --once        run the jobs that wait now, then end
    python -m workers --job ID      run that job to its end; exit code 0 if it succeeded

On SIGTERM and Ctrl-C the running jobs save a checkpoint and go back to the queue.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from uuid import UUID

import django

POLL_SECONDS = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Run the worker; returns the exit code."""
    options = _parse(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    django.setup()
    from workers.foreground import run_job
    from workers.host import this_machine

    host = this_machine(options.name, options.queues.split(","))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: host.stop.set())
    if options.job:
        return 0 if run_job(host, options.job) else 1
    if options.once:
        host.run_out()
    else:
        host.serve(POLL_SECONDS)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m workers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--queues", default="cpu,gpu", help="which queues to take jobs from"
    )
    parser.add_argument(
        "--name", default=socket.gethostname(), help="what the site calls this machine"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="end when no job waits")
    what.add_argument("--job", type=UUID, metavar="ID", help="run this job alone")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
