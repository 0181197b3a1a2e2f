"""Read one uploaded dataset version, or bring one base model:

    python -m workers.reading version|base ID

A child process of the worker, so that a file that exhausts it takes nothing else along.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from uuid import UUID

import django

# Reading streams; what asks for more than this is a bomb.
MEMORY_BYTES = 8 * 1024**3
OPEN_FILES = 512


def main(arguments: list[str] | None = None) -> int:
    """Do the one thing; what was wrong with it stands on its row."""
    parser = argparse.ArgumentParser(prog="python -m workers.reading")
    parser.add_argument("kind", choices=("version", "base"))
    parser.add_argument("id", type=UUID)
    options = parser.parse_args(arguments)
    limit_resources()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    django.setup()
    from webapp.bases.services import bring_base
    from webapp.datasets.services import read_version

    if options.kind == "version":
        read_version(version_id=options.id)
    else:
        bring_base(base_id=options.id)
    return 0


def limit_resources() -> None:
    """Bound the address space and the open files; no core dumps."""
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, wanted in limits.items():
        _, most = resource.getrlimit(kind)
        if most == resource.RLIM_INFINITY or wanted < most:
            resource.setrlimit(kind, (wanted, most))


if __name__ == "__main__":
    sys.exit(main())
