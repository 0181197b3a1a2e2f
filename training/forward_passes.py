"""How a model's forward passes are made to fit: layers twice, tokens at once.

Both follow from the model and the settings; the numbers are in
training/settings/forward_pass.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from training import compute
from training.spec import shape_of, tokens_at_once, wants_checkpointing

# Gradient and two moments of AdamW for a number that learns.
BYTES_OF_LEARNING = 12


def prepare(
    model: Any,
    setting: str,
    block_tokens: int,
    learning: Iterable[torch.Tensor],
    shared_by: int = 1,
) -> int:
    """Switch gradient checkpointing on or off, by the setting `auto`, `on` or `off`;
    returns the tokens of one forward pass over rows of `block_tokens`.

    `learning` are the weights that have an optimizer's state; weights and state are
    `shared_by` so many devices.
    """
    device = next(model.parameters()).device
    shape = shape_of(model.config.get_text_config().to_dict())
    fixed = sum(p.numel() * p.element_size() for p in model.parameters())
    fixed += BYTES_OF_LEARNING * sum(p.numel() for p in learning)
    twice = wants_checkpointing(
        setting,
        shape,
        block_tokens,
        fixed_bytes=fixed / shared_by,
        memory_bytes=compute.device_memory(device),
    )
    if twice:
        model.activation_checkpointing_enable({"use_reentrant": False})
    else:
        model.activation_checkpointing_disable()
    return tokens_at_once(shape, block_tokens, device.type, checkpointing=twice)
