"""What this machine computes with. Asks `nvidia-smi`, never torch."""

from __future__ import annotations

import logging
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger(__name__)

QUERY = [
    "nvidia-smi",
    "--query-gpu=uuid,name,memory.total",
    "--format=csv,noheader,nounits",
]
QUERY_SECONDS = 10.0  # a broken driver hangs it
CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
OUT_OF_MEMORY_COUNTS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
    Path("/proc/vmstat"),
)


@dataclass(frozen=True)
class Device:
    """One thing a job can run on: a GPU, several together, or the CPU.

    `uuid` names the GPUs, separated by commas, and is empty for a CPU; the memory is
    that of one.
    """

    kind: str  # "cuda" or "cpu"
    name: str
    memory_bytes: int
    cores: int = 0
    uuid: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What makes a child see this device and no other; of several GPUs it starts a
        process for each (training/ranks)."""
        return {"CUDA_VISIBLE_DEVICES": self.uuid}

    def as_dict(self) -> dict[str, object]:
        """As it stands on the host's row."""
        return asdict(self)


def list_devices(queues: list[str], gpus_per_job: int = 1) -> list[Device]:
    """The GPUs where `queues` has "gpu" and there are any, so many together for each
    job; else the CPU."""
    gpus = list_gpus() if "gpu" in queues else []
    return together(gpus, gpus_per_job) or [describe_cpu()]


def together(gpus: list[Device], count: int) -> list[Device]:
    """GPUs in groups of `count`, neighbours by their numbers; the last may be smaller.

    A part of a GPU (MIG) stays alone: a process can be shown no two of them.
    """
    whole = [gpu for gpu in gpus if gpu.uuid.startswith("GPU-")]
    parts = [gpu for gpu in gpus if gpu not in whole]
    groups = [whole[n : n + count] for n in range(0, len(whole), max(1, count))]
    return [_as_one(group) if len(group) > 1 else group[0] for group in groups] + parts


def _as_one(gpus: list[Device]) -> Device:
    names = list(dict.fromkeys(gpu.name for gpu in gpus))
    return Device(
        "cuda",
        f"{len(gpus)} × {', '.join(names)}",
        min(gpu.memory_bytes for gpu in gpus),
        uuid=",".join(gpu.uuid for gpu in gpus),
    )


def list_gpus() -> list[Device]:
    """The GPUs that nvidia-smi names; none where it is missing, fails or hangs."""
    try:
        answer = subprocess.run(
            QUERY, capture_output=True, text=True, timeout=QUERY_SECONDS, check=True
        )
    except FileNotFoundError:
        return []
    except (OSError, subprocess.SubprocessError) as problem:
        log.warning("nvidia-smi did not answer, GPUs are not used: %s", problem)
        return []
    return parse_gpus(answer.stdout)


def parse_gpus(table: str) -> list[Device]:
    """Devices from lines "uuid, name, MiB"; a line that is none of this is left out."""
    gpus = []
    for line in table.splitlines():
        uuid, _, rest = line.partition(",")
        name, _, mebibytes = rest.rpartition(",")
        if not uuid.strip().startswith(("GPU-", "MIG-")):
            continue
        memory = mebibytes.strip()
        size = int(memory) * 1024**2 if memory.isdigit() else 0  # "[N/A]"
        gpus.append(Device("cuda", name.strip(), size, uuid=uuid.strip()))
    return gpus


def describe_cpu() -> Device:
    """The processor, its usable cores and the memory this process may use."""
    name = "CPU"
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return Device("cpu", name, usable_memory(), cores=cores)


def usable_memory() -> int:
    """Bytes of memory: of the machine, or the limit of the container."""
    sizes = [
        int(line.split()[1]) * 1024
        for line in _lines(Path("/proc/meminfo"))
        if line.startswith("MemTotal:")
    ]
    for name in CGROUP_LIMITS:
        limit = "".join(_lines(Path("/sys/fs/cgroup") / name))
        if limit.isdigit():
            sizes.append(int(limit))
    return min(sizes, default=0)


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed for memory so far."""
    counts = [
        int(line.split()[1])
        for path in OUT_OF_MEMORY_COUNTS
        for line in _lines(path)
        if line.startswith("oom_kill ")
    ]
    return sum(counts)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
