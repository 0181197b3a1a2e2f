"""Where and how a stage computes: device, threads, precision, speed, exact randomness.

Shared by the stages that train. Every choice that depends on a measurement is made once
and stored by the caller, so that a resumed run makes the same one.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from training.errors import BaseUnsuitable, OutOfMemory
from training.spec import Device

# bfloat16 has 8 bits of mantissa: it must pay for that with speed. Where the hardware
# knows it, it is twice as fast; less than this was seen as noise of a busy CPU.
WORTHWHILE_SPEEDUP = 1.5
# Measuring speed ends after this long, however slow the model is.
MOST_SECONDS_TIMED = 20.0
# Of the minutes of a stage: evaluations take no more than this (but for the one at the
# end), and steps no less than that.
SHARE_FOR_EVALUATIONS, LEAST_SHARE_FOR_STEPS = 0.3, 0.3


def prepare_device(device: Device) -> torch.device:
    """The torch device of a job; sets the number of CPU threads (0: all cores).

    Raises BaseUnsuitable where a GPU is demanded and there is none.
    """
    if device.threads:
        torch.set_num_threads(device.threads)
    if device.kind == "cuda" and not torch.cuda.is_available():
        raise BaseUnsuitable(
            "The job asks for a GPU and this machine has none.",
            hint="Choose the device 'auto' or a machine with a GPU.",
        )
    if device.kind == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Mixed precision around a forward pass; `precision` is float32 or bfloat16."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def to_device(inputs: Any, device: torch.device) -> Any:
    """Tensors of a batch, also in dictionaries inside it, on the device."""
    if isinstance(inputs, dict):
        return {name: to_device(value, device) for name, value in inputs.items()}
    return inputs.to(device) if isinstance(inputs, torch.Tensor) else inputs


def seconds_per_call(
    call: Callable[[], object],
    *,
    calls: int = 5,
    agreed: Callable[[float], float] = float,
) -> float:
    """Median wall-clock seconds of `call`; two more calls before warm the caches.

    Slow calls are made fewer times: after MOST_SECONDS_TIMED there is no further one.
    `agreed` makes one time of those that several processes took, so that all stop
    together.
    """
    times: list[float] = []
    for _ in range(calls + 2):
        began = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(agreed(time.perf_counter() - began))
        if sum(times) > MOST_SECONDS_TIMED:
            break
    timed = sorted(times[2:] or times[-1:])
    return timed[len(timed) // 2]


def fit_into(
    minutes: float,
    *,
    used: float,
    per_step: float,
    evaluations: int,
    per_evaluation: float,
) -> tuple[int, int]:
    """(steps, evaluations) that fit into the minutes of a stage, one of each at least.

    `used`, `per_step` and `per_evaluation` are seconds; `evaluations` is how many are
    wanted. Where they cost too much there are fewer of them.
    """
    whole = 60 * minutes
    affordable = int(SHARE_FOR_EVALUATIONS * whole / max(per_evaluation, 1e-9))
    evaluations = max(1, min(evaluations, affordable))
    left = whole - used - evaluations * per_evaluation
    return max(1, int(max(left, LEAST_SHARE_FOR_STEPS * whole) / per_step)), evaluations


def knows_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16 by itself.

    A CPU of AVX2 or less emulates it: a product of two matrices (512 x 512) took 65 times
    as long there as in float32 (AMD EPYC, torch 2.13), one step of a small model 10 s.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    available = torch.backends.mkldnn.is_available()
    return available and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def choose_precision(
    setting: str, measure: Callable[[str], float], device: torch.device
) -> tuple[str, dict[str, float]]:
    """The precision to train in, and the seconds a step took in each one tried.

    `measure(precision)` gives seconds per step. "auto" takes bfloat16 where the device
    knows it and it is measured to be faster by WORTHWHILE_SPEEDUP.
    """
    if setting == "auto" and not knows_bfloat16(device):
        setting = "float32"
    if setting != "auto":
        return setting, {setting: measure(setting)}
    seconds = {name: measure(name) for name in ("float32", "bfloat16")}
    faster = seconds["bfloat16"] * WORTHWHILE_SPEEDUP < seconds["float32"]
    return ("bfloat16" if faster else "float32"), seconds


def random_state() -> dict[str, Any]:
    """State of the generators of torch and Python, of plain types and tensors only."""
    version, numbers, gauss = random.getstate()
    state = {
        "torch": torch.get_rng_state(),
        "python": [version, list(numbers), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put the generators back to what `random_state` read."""
    torch.set_rng_state(state["torch"])
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int) -> None:
    """Seed torch (every device) and Python."""
    random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def memory_errors(sentence: str) -> Iterator[None]:
    """Turn running out of memory into OutOfMemory with `sentence`."""
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        if is_memory_error(problem):
            raise OutOfMemory(sentence) from problem
        raise


def is_memory_error(problem: BaseException) -> bool:
    """Whether something failed for want of memory."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator has no class of its own.
    return isinstance(problem, RuntimeError) and (
        "not enough memory" in str(problem) or "can't allocate" in str(problem)
    )


def device_memory(device: torch.device) -> int:
    """Bytes of memory that the device has, used or not; 0 where it does not say."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
