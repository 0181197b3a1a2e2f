"""Optimizer and schedule of the pretraining loop."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

# The betas of most published continued-pretraining recipes (Llama, SambaLingo, Sherkala).
BETAS = (0.9, 0.95)
CLIP = 1.0
# Peak learning rate times width. On a base of width 64, 300 steps at 3e-3 ended at 1.445
# bits per byte of Kazakh and 1e-3 at 1.551 (English 2.807 and 2.850); SambaLingo and
# Purason use 1e-4 at widths of 2,048 and 3,072. Additions take twice as much.
RATE_TIMES_WIDTH = {"full": 0.2, "additions": 0.4}


def make_optimizer(
    model: torch.nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    embedding_rate_share: float = 1.0,
    lora_plus_ratio: float = 1.0,
) -> torch.optim.AdamW:
    """AdamW over the weights that have a gradient; only matrices of layers decay.

    Embeddings (those of positions too), an output head, norms and biases do not: a row
    that is not in a batch would shrink without having been wrong, as all places behind
    the block's length would. Embeddings of tokens learn at `embedding_rate_share`
    of the rate, second matrices of low-rank additions at `lora_plus_ratio` of it
    (LoRA+, Hayou et al. 2024).
    """
    rows = {
        id(parameter)
        for module in (model.get_input_embeddings(), model.get_output_embeddings())
        if module is not None
        for parameter in module.parameters()
    }
    tables = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, torch.nn.Embedding)
    }
    groups: dict[tuple[bool, float], list[torch.nn.Parameter]] = {
        (True, 1.0): [],
        (False, 1.0): [],
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            embedding = id(parameter) in rows or "trainable_tokens" in name
            factor = embedding_rate_share if embedding else 1.0
            factor = lora_plus_ratio if "lora_B" in name else factor
            table = embedding or id(parameter) in tables
            decays = parameter.dim() >= 2 and not table
            groups.setdefault((decays, factor), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": weight_decay if decays else 0.0,
                "factor": factor,
            }
            for (decays, factor), parameters in groups.items()
            if parameters
        ],
        lr=learning_rate,
        betas=BETAS,
        fused=True,
    )


def peak_learning_rate(
    width: int, method: str, *, given: float = 0.0, base_final: float = 0.0
) -> float:
    """The peak: as given, else the base's final rate, else from the hidden size `width`.

    With the base's final rate known and no other given, training goes on from it (Parmar
    et al. 2024); `method` is full or one of the additions.
    """
    kind = "full" if method == "full" else "additions"
    return given or base_final or RATE_TIMES_WIDTH[kind] / width


def learning_rate_at(
    step: float,
    total: int,
    *,
    peak: float,
    warmup_share: float,
    final_share: float,
    schedule: str = "cosine",
    decay_share: float = 0.2,
    start: float = 0.0,
) -> float:
    """Linear warm-up from `start` to `peak`, then the schedule to `peak * final_share`.

    `step` counts from 0; the last step has the final rate. cosine: half a cosine.
    linear: a line. wsd: the peak, and over the last `decay_share` of all steps a fall
    by 1 - sqrt (Hägele et al. 2024). constant: the peak. A `start` above 0 is the rate
    where the base's pretraining ended (re-warming, Ibrahim et al. 2024); where it is
    the peak there is nothing to climb.
    """
    warmup = round(total * warmup_share)
    if step < warmup:
        return start + (peak - start) * (step + 1) / (warmup + 1)
    first = warmup
    if schedule == "wsd":
        first = max(warmup, total - 1 - round(total * decay_share))
    progress = (step - first) / max(1, total - 1 - first)
    height = _height(schedule, max(0.0, min(1.0, progress)))
    return peak * (final_share + (1 - final_share) * height)


def _height(schedule: str, progress: float) -> float:
    """How much of the way from peak to final rate is left, 1 to 0."""
    if schedule == "constant":
        return 1.0
    if schedule == "wsd":
        return 1 - math.sqrt(progress)
    if schedule == "linear":
        return 1 - progress
    return 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate for every group, times the group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)


def clip_gradients(parameters: Iterable[torch.nn.Parameter]) -> float:
    """Scale gradients down to a norm of CLIP; returns the norm they had."""
    norm = torch.nn.utils.clip_grad_norm_(list(parameters), CLIP, foreach=True)
    # Of weights in parts (training/ranks/sharding.py) it is in parts too.
    return (norm.full_tensor() if hasattr(norm, "full_tensor") else norm).item()
