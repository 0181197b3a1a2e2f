from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers import devices
from workers.devices import (
    describe_cpu,
    list_devices,
    list_gpus,
    parse_gpus,
    together,
)
from workers.host import WorkerHost

TABLE = """GPU-1a2b, NVIDIA H200, 143771
GPU-3c4d, Some, name with a comma, 24576
MIG-5e6f, NVIDIA A100 MIG 1g.5gb, [N/A]
No devices were found
"""


def nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name that does what `script` says."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_gpus_are_read_from_the_table() -> None:
    gpus = parse_gpus(TABLE)
    assert [gpu.uuid for gpu in gpus] == ["GPU-1a2b", "GPU-3c4d", "MIG-5e6f"]
    assert gpus[0].memory_bytes == 143771 * 1024**2
    assert gpus[1].name == "Some, name with a comma"
    assert gpus[2].memory_bytes == 0
    assert gpus[0].environment == {"CUDA_VISIBLE_DEVICES": "GPU-1a2b"}


def test_each_gpu_is_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, "echo 'GPU-1, One, 10'; echo 'GPU-2, Two, 10'", monkeypatch)
    assert [device.name for device in list_devices(["cpu", "gpu"])] == ["One", "Two"]
    (cpu,) = list_devices(["cpu"])
    assert cpu.kind == "cpu"
    assert cpu.environment == {"CUDA_VISIBLE_DEVICES": ""}  # it sees no GPU


def test_a_job_may_get_several_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every GPU belongs to one device, and its job sees that one's GPUs alone."""
    lines = "; ".join(f"echo 'GPU-{n}, One, {10 + n}'" for n in range(5))
    nvidia_smi(tmp_path, lines, monkeypatch)
    devices = list_devices(["gpu"], 2)
    seen = [device.environment["CUDA_VISIBLE_DEVICES"] for device in devices]
    assert seen == ["GPU-0,GPU-1", "GPU-2,GPU-3", "GPU-4"]
    assert [device.name for device in devices] == ["2 × One", "2 × One", "One"]
    assert devices[1].memory_bytes == 12 * 1024**2  # of one of them
    assert [device.kind for device in list_devices(["cpu"], 2)] == ["cpu"]


def test_parts_of_a_gpu_stay_alone() -> None:
    gpus = together(parse_gpus(TABLE), 4)
    assert [gpu.uuid for gpu in gpus] == ["GPU-1a2b,GPU-3c4d", "MIG-5e6f"]
    assert together([], 4) == []


@pytest.mark.parametrize("script", ["exit 9", "sleep 60", "echo rubbish"])
def test_a_broken_driver_leaves_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(devices, "QUERY_SECONDS", 0.2)
    nvidia_smi(tmp_path, script, monkeypatch)
    assert list_gpus() == []
    assert [device.kind for device in list_devices(["gpu"])] == ["cpu"]


def test_no_driver_leaves_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [device.kind for device in list_devices(["gpu"])] == ["cpu"]


def test_the_cpu_is_described() -> None:
    cpu = describe_cpu()
    assert 1 <= cpu.cores <= (os.cpu_count() or 1)
    assert cpu.memory_bytes > 100 * 1024**2
    assert cpu.name


def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = devices.usable_memory()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(devices, "CGROUP_LIMITS", (str(limit),))
    limit.write_text("max\n")
    assert devices.usable_memory() == machine
    limit.write_text("104857600\n")
    assert devices.usable_memory() == 104857600


def test_kills_for_memory_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, missing = tmp_path / "memory.events", tmp_path / "missing"
    monkeypatch.setattr(devices, "OUT_OF_MEMORY_COUNTS", (events, missing))
    assert devices.out_of_memory_kills() == 0
    events.write_text("low 0\noom 4\noom_kill 3\noom_group_kill 1\n")
    assert devices.out_of_memory_kills() == 3


@pytest.mark.django_db
def test_a_host_says_whether_a_service_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "MOTHERTONGUE_TRANSLATOR_URL"
    monkeypatch.setenv(url, "http://127.0.0.1:8080/v1")
    assert WorkerHost("anvil", ["cpu"], [describe_cpu()]).row.has_service
    monkeypatch.delenv(url)
    assert not WorkerHost("anvil", ["cpu"], [describe_cpu()]).row.has_service
