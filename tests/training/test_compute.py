from __future__ import annotations

import random

import pytest
import torch

from training import compute
from training.errors import BaseUnsuitable, OutOfMemory
from training.spec import Device

pytestmark = pytest.mark.slow  # needs torch


CPU = torch.device("cpu")


def test_precision_is_what_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "knows_bfloat16", lambda device: True)
    fast = {"float32": 1.0, "bfloat16": 0.5}
    equal = {"float32": 1.0, "bfloat16": 0.95}
    faster = compute.choose_precision("auto", fast.__getitem__, CPU)
    assert faster == ("bfloat16", fast)
    assert compute.choose_precision("auto", equal.__getitem__, CPU)[0] == "float32"
    chosen, seconds = compute.choose_precision("float32", fast.__getitem__, CPU)
    assert (chosen, seconds) == ("float32", {"float32": 1.0})


def test_what_the_hardware_does_not_know_is_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where bfloat16 is emulated one step of it takes longer than all the rest."""
    monkeypatch.setattr(compute, "knows_bfloat16", lambda device: False)
    times = {"float32": 1.0}
    assert compute.choose_precision("auto", times.__getitem__, CPU)[1] == times
    with pytest.raises(KeyError):  # control: who asks for it gets it
        compute.choose_precision("bfloat16", times.__getitem__, CPU)


def test_a_cpu_of_avx2_does_not_know_bfloat16() -> None:
    known = compute.knows_bfloat16(CPU)
    assert isinstance(known, bool)
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        assert not known


def test_randomness_comes_back() -> None:
    state = compute.random_state()
    first = (torch.rand(3).tolist(), random.random())
    assert (torch.rand(3).tolist(), random.random()) != first
    compute.restore_random_state(state)
    assert (torch.rand(3).tolist(), random.random()) == first


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_errors_are_named(raised: Exception) -> None:
    with pytest.raises(OutOfMemory, match="too big"):
        with compute.memory_errors("too big"):
            raise raised


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        with compute.memory_errors("too big"):
            raise RuntimeError("shape")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert compute.prepare_device(Device()) == torch.device("cpu")
    with pytest.raises(BaseUnsuitable, match="GPU"):
        compute.prepare_device(Device(kind="cuda"))


def test_threads_are_set() -> None:
    before = torch.get_num_threads()
    try:
        compute.prepare_device(Device(kind="cpu", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_what_fits_into_the_minutes() -> None:
    def fit(per_evaluation: float, used: float = 10.0) -> tuple[int, int]:
        return compute.fit_into(
            1.0,
            used=used,
            per_step=0.5,
            evaluations=8,
            per_evaluation=per_evaluation,
        )

    assert fit(0.5) == (92, 8)  # 60 - 10 - 8 * 0.5 seconds
    assert fit(9.0) == (64, 2)  # 18 of 60 seconds are for evaluations
    assert fit(50.0) == (36, 1)
    assert fit(0.5, used=100.0) == (36, 8)  # 18 of 60 seconds are for steps


def test_measuring_a_slow_step_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "MOST_SECONDS_TIMED", 0.0)
    calls: list[int] = []
    assert compute.seconds_per_call(lambda: calls.append(1)) > 0
    assert len(calls) == 1
    monkeypatch.undo()
    compute.seconds_per_call(lambda: calls.append(1))
    assert len(calls) == 1 + 7
