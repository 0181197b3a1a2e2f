"""Steps in compiled code: whether it pays, and what happens where it cannot be had.

Compiled is the body of the model as the loss calls it (`HeadLoss.body`); the model itself
stays as it is, so that curves, answers and everything saved never meet compiled code and
no name changes. All passes of a step have one shape, for which it is compiled once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from training import compute
from training.micro_batches import drop_gradients
from training.settings.continue_pretraining import changes_shape

if TYPE_CHECKING:
    from training.pretraining.loop import Pretraining

log = logging.getLogger(__name__)

# Compiling costs a minute or more: a gain below this is not worth it.
WORTHWHILE_SPEEDUP = 1.1


def choose(loop: Pretraining, precision: str, seconds: dict[str, float]) -> bool:
    """Whether the steps of a new run are compiled. `seconds` of a step by precision get
    those of the compiled one where it is chosen after a measurement."""
    setting = loop.settings.compile
    if setting == "on":
        if not begin(loop, precision):
            return False
        if precision in seconds:
            seconds[precision] = loop.time_steps(precision)
        return True
    hindered = loop.ranks.sharded or changes_shape(loop.settings)
    if setting == "off" or loop.device.type == "cpu" or hindered:
        return False
    eager = seconds.get(precision) or loop.time_steps(precision)
    if not begin(loop, precision):
        return False
    fast = loop.time_steps(precision)
    if fast * WORTHWHILE_SPEEDUP > eager:
        end(loop)
        return False
    seconds[precision] = fast
    return True


def begin(loop: Pretraining, precision: str) -> bool:
    """Compile, and try it on a pass whose gradients are dropped; a note and False where
    that fails on this machine. Does nothing where it is compiled already."""
    body = loop.head_loss.causal.base_model
    if loop.head_loss.body is not body:
        return True
    reason = "of this family body and head cannot be told apart"
    if not loop.head_loss.whole:
        loop.head_loss.body = torch.compile(body, dynamic=False)
        reason = attempt(loop, precision)
    if not loop.ranks.any(bool(reason)):
        return True
    end(loop)
    loop.events.note(
        "The steps are not compiled, training goes on without and is only slower: "
        f"{reason or 'another process could not'}.",
        level="warning",
    )
    return False


def end(loop: Pretraining) -> None:
    """Back to steps that are not compiled."""
    loop.head_loss.body = loop.head_loss.causal.base_model
    torch.compiler.reset()


def attempt(loop: Pretraining, precision: str) -> str:
    """What hindered a compiled pass; empty where it was computed."""
    state = compute.random_state()
    batch = loop.ranks.share(next(loop.packer.batches()))
    rows = min(len(batch.ids), loop.micro_batches.rows(0, batch.ids.shape[1]))
    loop.model.train()
    try:
        loop.add_gradients(next(batch.parts(rows)), rows, precision)
    except Exception as problem:  # compilers fail in many ways
        if compute.is_memory_error(problem):
            raise
        log.warning("nothing was compiled: %s", problem)
        return str(problem).strip().split("\n")[0].rstrip(".") or "the compiler failed"
    finally:
        drop_gradients(loop.trained.values())()
        compute.restore_random_state(state)
    return ""
