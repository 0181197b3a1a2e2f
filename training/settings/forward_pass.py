"""CONTRACT: what a forward pass keeps in memory for its gradients. Standard library only.

The engine decides with these numbers how many rows one pass takes and whether layers are
computed twice; the plan predicts with the same numbers what a launch will need
(webapp/jobs/planning/memory.py). They were counted with
torch.autograd.graph.saved_tensors_hooks on two and four layers of each family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FLOAT = 4  # bytes
# Of a Llama layer a pass keeps, for each token: eight vectors of the width (input,
# scaled and weighted of both norms, queries, what attention gives), keys and values, and
# four of the feed-forward width (gate, its activation, up, their product).
VECTORS, FEED_FORWARD_VECTORS = 8, 4
# With additions the weights of norms do not learn: one vector less for each norm.
VECTORS_WITH_ADDITIONS = 6
# Linear modules of a layer, the input of each dropped out: value and mask.
MODULES, DROPOUT_SHARE = 7, 1.25
# Counted for the other families, beside a Llama of the same shape.
FAMILY_FACTORS = {
    "gpt2": 1.10,
    "gpt_neox": 0.72,
    "gemma3_text": 1.38,
    "qwen3": 1.19,
    "qwen3_moe": 1.19,
}
# Without a fused kernel the weights of all heads are kept, before and after softmax.
EAGER = ("gemma2",)
# bfloat16: the inputs of matrices take half, norms stay as they are.
BFLOAT16_FACTOR = 0.75

# What a forward pass may keep, in bytes. Longer passes are no faster: a CPU is busy
# with a thousand tokens, a GPU with some ten thousand.
KEPT_AT_ONCE = {"cpu": 2**30, "cuda": 2**34}
# Logits computed at once, in numbers: 128 MB on a CPU, 1 GB on a GPU.
LOGITS_AT_ONCE = {"cpu": 2**25, "cuda": 2**28}


@dataclass(frozen=True)
class Shape:
    """What of a model decides how much its passes keep. `key_width` is that of all keys
    of a token; `kind` is the model_type."""

    layers: int
    width: int
    feed_forward: int
    key_width: int
    heads: int
    kind: str = "llama"


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The shape that a config.json states; what it leaves out is as in Llama."""

    def read(*names: str) -> int:
        return next((int(config[n]) for n in names if config.get(n)), 0)

    width = read("hidden_size", "n_embd") or 1
    heads = read("num_attention_heads", "n_head") or 1
    feed_forward = read("intermediate_size", "n_inner") or 4 * width
    if read("num_experts_per_tok"):
        each = read("moe_intermediate_size") or feed_forward
        feed_forward = each * read("num_experts_per_tok")
    keys = (read("num_key_value_heads") or heads) * (
        read("head_dim") or width // heads or 1
    )
    return Shape(
        layers=read("num_hidden_layers", "n_layer") or 1,
        width=width,
        feed_forward=feed_forward,
        key_width=keys,
        heads=heads,
        kind=str(config.get("model_type") or "llama"),
    )


def bytes_of_a_token(
    shape: Shape,
    block_tokens: int,
    *,
    bfloat16: bool = False,
    rank: int = 0,
    dropout: bool = False,
    checkpointing: bool = False,
) -> float:
    """Bytes that all layers keep for one token of a row of `block_tokens`.

    `rank` is that of low-rank additions, 0 for full training. With `checkpointing` each
    layer keeps its input only and is computed again on the way back; what one layer
    needs while that happens is `bytes_of_a_layer`, and is not in this number.
    """
    if checkpointing:
        return FLOAT * shape.width * shape.layers
    layer = bytes_of_a_layer(
        shape, block_tokens, bfloat16=bfloat16, rank=rank, dropout=dropout
    )
    return layer * shape.layers


def bytes_of_a_layer(
    shape: Shape,
    block_tokens: int,
    *,
    bfloat16: bool = False,
    rank: int = 0,
    dropout: bool = False,
) -> float:
    """Bytes that one layer keeps for one token of a row of `block_tokens`."""
    width, wide = shape.width, shape.feed_forward
    vectors = VECTORS_WITH_ADDITIONS if rank else VECTORS
    kept = vectors * width + 2 * shape.key_width + FEED_FORWARD_VECTORS * wide
    kept *= FAMILY_FACTORS.get(shape.kind, 1.0)
    if rank:
        kept += MODULES * rank
        kept += DROPOUT_SHARE * (6 * width + wide) if dropout else 0
    # The mask of packed documents, or the weights of attention.
    kept += 2 * shape.heads * block_tokens if shape.kind in EAGER else block_tokens
    return FLOAT * kept * (BFLOAT16_FACTOR if bfloat16 else 1.0)


def tokens_at_once(
    shape: Shape, block_tokens: int, device: str, *, checkpointing: bool = False
) -> int:
    """Tokens of one forward pass: whole rows of `block_tokens`, one at least.

    A function of model and settings alone, so that a run can be repeated bit for bit on
    another day; where memory is smaller than thought, the engine halves it
    (training/micro_batches.py).
    """
    token = bytes_of_a_token(shape, block_tokens, checkpointing=checkpointing)
    rows = int(KEPT_AT_ONCE[device] / token / block_tokens)
    return max(1, rows) * block_tokens


def wants_checkpointing(
    setting: str,
    shape: Shape,
    block_tokens: int,
    *,
    fixed_bytes: float,
    memory_bytes: float,
) -> bool:
    """Whether layers are computed twice: `setting` is on, off or auto.

    auto: on where one row does not fit beside `fixed_bytes` (weights, gradients,
    optimizer) into `memory_bytes` of the device; off where that is not known (0).
    """
    if setting != "auto":
        return setting == "on"
    row = bytes_of_a_token(shape, block_tokens) * block_tokens
    return bool(memory_bytes) and fixed_bytes + row > memory_bytes
