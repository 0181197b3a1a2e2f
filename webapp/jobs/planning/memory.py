"""How much memory a run will need at its peak, in parts that the launch page shows.

A run is at its peak in one of three moments: on the way back through the model, while a
text is measured, or while a stage's model is written and read back. Each moment has the
same parts; the largest sum is what is needed.

    process        the libraries; on a GPU what CUDA takes for itself
    weights        4 bytes for each number of the model (float32); 2 more for the copy
                   that mixed precision keeps; a second copy where a model is read back
    gradients      4 bytes for each number that learns
    optimizer      8 bytes for each number that learns, the two moments of AdamW
    activations    layers x tokens of a forward pass x what a layer keeps for a token
                   (training/settings/forward_pass.py); on a CPU also what lies free
                   between that: layers x tokens x the outputs of a layer's matrices x
                   a share (constants.HOLES)
    logits         tokens at once x rows x 4 bytes x copies

What lies free: a pass makes an output, keeps what follows from it and frees it; a smaller
piece that stays is put into the hole, and the rest is too small for the next output.
Additions make three outputs for each matrix: the base's, their own and the sum.

Measured against real runs on a CPU: bench/RESULTS.md, bench/memory.py. On a GPU it has
not been measured. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.spec import (
    FLOAT,
    LOGITS_AT_ONCE,
    Shape,
    StageSettings,
    bytes_of_a_layer,
    bytes_of_a_token,
    shape_of,
    tokens_at_once,
    wants_checkpointing,
)
from webapp.jobs.planning import constants as c

PARTS = ("process", "weights", "gradients", "optimizer", "activations", "logits")
LEARNS = ("continue_pretraining", "tune_instructions", "align_preferences")
Parts = dict[str, int]


@dataclass(frozen=True)
class Base:
    """A base as the formula sees it; `added` are the rows that a job will add."""

    shape: Shape
    parameters: int
    rows: int
    matrices: int
    added: int = 0

    @property
    def row_numbers(self) -> int:
        """Numbers of the input and output matrices."""
        return self.rows * self.shape.width * self.matrices


def base_of(passport: Mapping[str, Any], new_rows: int = 0) -> Base:
    """From a passport; what an old or empty one lacks is guessed from the size."""
    parameters = int(passport.get("parameters") or c.MILLION)
    rows = int(passport.get("rows") or passport.get("vocabulary") or 32_000)
    matrices = 1 if passport.get("tied") else 2
    width = int(passport.get("width") or max(1, (parameters / 12) ** 0.4))
    layers = int(passport.get("layers") or 12)
    body = max(1, parameters - rows * width * matrices)
    # Attention has four matrices of the width, a gated feed-forward part three.
    wide = max(width, int((body / layers - 4 * width**2) / (3 * width)))
    shape = shape_of(
        {
            "hidden_size": width,
            "num_hidden_layers": layers,
            "intermediate_size": passport.get("feed_forward") or wide,
            "num_attention_heads": passport.get("heads") or 1,
            "num_key_value_heads": 1,
            "head_dim": passport.get("key_width") or width,
            "model_type": passport.get("model_type"),
        }
    )
    return Base(
        shape=shape,
        parameters=parameters + new_rows * width * matrices,
        rows=rows + new_rows,
        matrices=matrices,
        added=new_rows,
    )


def parts(
    passport: Mapping[str, Any],
    stages: Sequence[StageSettings],
    *,
    gpu: bool = False,
    device_bytes: float = 0.0,
) -> Parts:
    """The parts of the peak, in bytes, of a job of these stages over a base."""
    rows = sum(
        getattr(stage, "new_tokens", 0)
        for stage in stages
        if stage.stage == "extend_vocabulary"
        and getattr(stage, "method", "keep") != "keep"
    )
    base = base_of(passport, rows)
    learning = [stage for stage in stages if stage.stage in LEARNS]
    moments = [_measuring(base, 0, gpu), _saving(base, 0, gpu)]
    for stage in learning:
        learned = learned_numbers(base, stage)
        moments += [
            _learning(base, stage, learned, gpu, device_bytes),
            _measuring(base, learned, gpu),
            _saving(base, learned, gpu),
        ]
    if any(stage.stage == "distil_embeddings" for stage in stages):
        teacher = _measuring(base, base.row_numbers, gpu)
        moments.append({**teacher, "weights": 2 * teacher["weights"]})
    largest = max(moments, key=lambda moment: sum(moment.values()))
    if any(stage.stage != "continue_pretraining" for stage in learning) and not gpu:
        largest["process"] += c.TRAINER_BYTES
    return {name: int(largest[name]) for name in PARTS}


def learned_numbers(base: Base, stage: StageSettings) -> int:
    """How many numbers have gradients and moments in a stage that learns."""
    if getattr(stage, "method", "") != "full" or stage.stage != "continue_pretraining":
        return _additions(base, stage)
    trains = getattr(stage, "trains", "everything")
    if trains in ("everything", "half", "lisa"):
        return base.parameters
    if trains == "body":
        return base.parameters - base.row_numbers
    one = trains in ("new_input_rows", "new_output_rows", "output_rows", "lottery_rows")
    return base.row_numbers // (base.matrices if one else 1)


def _additions(base: Base, stage: StageSettings) -> int:
    """Numbers of low-rank additions to all matrices of all layers, and of new rows."""
    shape, rank = base.shape, getattr(stage, "lora_rank", 0)
    width, wide, keys = shape.width, shape.feed_forward, shape.key_width
    # In and out of queries and output, keys and values, and the feed-forward part.
    sides = 4 * width + 2 * (width + keys) + 3 * (width + wide)
    embeddings = getattr(stage, "adapter_embeddings", "new_rows")
    rows = {"all": base.row_numbers, "none": 0}.get(
        embeddings, base.added * shape.width * base.matrices
    )
    return rank * sides * shape.layers + rows


def _learning(
    base: Base, stage: StageSettings, learned: int, gpu: bool, device_bytes: float
) -> Parts:
    """On the way back through the model, with everything held at once."""
    block = int(
        getattr(stage, "block_tokens", 0) or getattr(stage, "maximum_tokens", 512)
    )
    batch = getattr(stage, "batch_blocks", 0) or getattr(stage, "batch_examples", 0)
    batch = int(batch or 2 * getattr(stage, "batch_pairs", 8))
    precision = getattr(stage, "precision", "auto")
    bfloat16 = precision == "bfloat16" or (precision == "auto" and gpu)
    device = "cuda" if gpu else "cpu"
    fixed = FLOAT * base.parameters + 3 * FLOAT * learned
    twice = wants_checkpointing(
        getattr(stage, "gradient_checkpointing", "auto"),
        base.shape,
        block,
        fixed_bytes=fixed,
        memory_bytes=device_bytes,
    )
    most = tokens_at_once(base.shape, block, device, checkpointing=twice)
    tokens = min(batch * block, most)
    full = getattr(stage, "method", "") == "full"
    shares = {
        "bfloat16": bfloat16,
        "rank": 0 if full else getattr(stage, "lora_rank", 0),
        "dropout": bool(not full and getattr(stage, "lora_dropout", 0)),
    }
    kept = bytes_of_a_token(base.shape, block, checkpointing=twice, **shares) * tokens
    if twice:
        kept += bytes_of_a_layer(base.shape, block, **shares) * tokens
    if not gpu:
        kept += c.HOLES[not full, twice] * _outputs(base.shape, bfloat16) * tokens
    logits = min(tokens * base.rows, max(LOGITS_AT_ONCE[device], base.rows))
    return {
        "process": c.CUDA_BYTES if gpu else c.PROCESS_BYTES,
        "weights": base.parameters * (FLOAT + (2 if bfloat16 else 0)),
        "gradients": FLOAT * learned,
        "optimizer": 2 * FLOAT * learned,
        "activations": kept,
        "logits": logits * FLOAT * c.LOGIT_COPIES,
    }


def _outputs(shape: Shape, bfloat16: bool) -> float:
    """Bytes that the matrices of all layers put out for a token: queries, keys, values
    and output, gate, up and down."""
    numbers = 3 * shape.width + 2 * (shape.key_width + shape.feed_forward)
    return numbers * shape.layers * FLOAT * (0.5 if bfloat16 else 1.0)


def _measuring(base: Base, learned: int, gpu: bool) -> Parts:
    """While held-out text is measured; the optimizer is there still."""
    tokens = min(c.MEASURED_AT_ONCE, c.MEASURED_LOGITS // base.rows)
    vectors = 4 * base.shape.width + 3 * base.shape.feed_forward
    return {
        "process": c.CUDA_BYTES if gpu else c.PROCESS_BYTES,
        "weights": FLOAT * base.parameters,
        "gradients": 0,
        "optimizer": 2 * FLOAT * learned,
        "activations": tokens * vectors * FLOAT,
        "logits": tokens * base.rows * FLOAT * c.MEASURED_COPIES,
    }


def _saving(base: Base, learned: int, gpu: bool) -> Parts:
    """While a model is written and read back: it is there twice, and the optimizer;
    before and after, the logits of the same texts are compared."""
    compared = min(c.COMPARED_LOGITS, c.COMPARED_TOKENS * base.rows)
    return {
        "process": c.CUDA_BYTES if gpu else c.PROCESS_BYTES,
        "weights": 2 * FLOAT * base.parameters,
        "gradients": 0,
        "optimizer": 2 * FLOAT * learned,
        "activations": 0,
        "logits": compared * FLOAT * c.COMPARED_SIDES,
    }
