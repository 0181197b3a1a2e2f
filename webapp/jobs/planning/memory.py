"""How much memory a run will need at its peak, in parts that the launch page shows.

A run is at its peak in one of three moments: on the way back through the model, while a
text is measured, or while a stage's model is written and read back (always on the CPU).
Each moment has the same parts; the largest sum is what is needed.

    process        the libraries; on a GPU what CUDA takes for itself
    weights        4 bytes for each number of the model (float32); 2 more for the copy
                   that mixed precision keeps; a second copy where a model is read back
    gradients      4 bytes for each number that learns; in full training once more for
                   the output matrix, whose gradient is added up chunk by chunk
    optimizer      8 bytes for each number that learns, the two moments of AdamW
    activations    layers x tokens of a forward pass x what a layer keeps for a token
                   (training/settings/forward_pass.py); on a CPU also what lies free
                   between that: layers x tokens x the outputs of a layer's matrices x
                   a share (constants.HOLES)
    logits         tokens at once x rows x 4 bytes; two copies where a text is measured

Of several GPUs each computes its part of a batch. Where they hold the weights in parts
(training/ranks/sharding.py), weights, gradients and moments are divided among them; whole
are in turn the weights of two layers, and all the time of a pass those that belong to no
layer, with their gradients. Activations and logits are not divided.

What lies free: a pass makes an output, keeps what follows from it and frees it; a smaller
piece that stays is put into the hole, and the rest is too small for the next output.
Additions make three outputs for each matrix: the base's, their own and the sum; with
dropout its input is made anew, in bfloat16 twice. Where a CPU's clock chooses between
float32 and bfloat16 the larger counts.

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
    batch_of,
    bytes_of_a_layer,
    bytes_of_a_token,
    in_parts,
    most_processes,
    share_of_one,
    tokens_at_once,
    wants_checkpointing,
)
from webapp.jobs.planning import constants as c
from webapp.jobs.planning.base_shape import Base, base_of

PARTS = ("process", "weights", "gradients", "optimizer", "activations", "logits")
LEARNS = ("continue_pretraining", "tune_instructions", "align_preferences")
# Of a model in parts every process holds its own of these.
DIVIDED = ("weights", "gradients", "optimizer")
Parts = dict[str, int]


@dataclass(frozen=True)
class Machine:
    """What a job runs on: bytes of each device (0: not known), and how many processes
    share it, as in Device."""

    gpu: bool
    device_bytes: float
    processes: int
    sharing: str


def parts(
    passport: Mapping[str, Any],
    stages: Sequence[StageSettings],
    *,
    gpu: bool = False,
    device_bytes: float = 0.0,
    processes: int = 1,
    sharing: str = "auto",
) -> Parts:
    """The parts of the peak, in bytes, of a job of these stages over a base; in each of
    so many `processes` that share it (`sharing` as in Device)."""
    base = base_of(passport, _new_rows(stages))
    learning = [stage for stage in stages if stage.stage in LEARNS]
    machine = Machine(gpu, device_bytes, processes, sharing)
    moments = [_measuring(base, 0, gpu)] + [_saving(base, 0)] * (not gpu)
    for stage in learning:
        moments += _moments(base, stage, machine)
    if any(stage.stage == "distil_embeddings" for stage in stages):
        teacher = _measuring(base, base.row_numbers, gpu)
        moments.append({**teacher, "weights": 2 * teacher["weights"]})
    largest = max(moments, key=lambda moment: sum(moment.values()))
    if any(stage.stage != "continue_pretraining" for stage in learning) and not gpu:
        largest["process"] += c.TRAINER_BYTES
    return {name: int(largest[name]) for name in PARTS}


def _new_rows(stages: Sequence[Any]) -> int:
    """Rows that the stages add."""
    extending = [stage for stage in stages if stage.stage == "extend_vocabulary"]
    return sum(stage.new_tokens for stage in extending if stage.method != "keep")


def _moments(base: Base, stage: StageSettings, machine: Machine) -> list[Parts]:
    """The moments of a stage that learns, in one of the processes that share it."""
    learned, gpu = learned_numbers(base, stage), machine.gpu
    parted = in_parts(stage, machine.sharing, base.parameters, machine.device_bytes)
    holders = most_processes(stage, machine.processes) if parted else 1
    share = share_of_one(stage, machine.processes)
    passes = [
        _learning(base, share, learned, machine, holders, bfloat16=bfloat16)
        for bfloat16 in _precisions(stage, gpu)
    ]
    return [
        *[_divided(base, moment, holders) for moment in passes],
        _divided(base, _measuring(base, learned, gpu), holders),
        # To be written all parts come to the first process, on the CPU.
        *[_saving(base, learned)] * (not gpu),
    ]


def _precisions(stage: StageSettings, gpu: bool) -> list[bool]:
    """Whether a stage computes in bfloat16; both where a CPU's clock decides."""
    precision = getattr(stage, "precision", "auto")
    return {"float32": [False], "bfloat16": [True]}.get(
        precision, [True] if gpu else [False, True]
    )


def _divided(base: Base, moment: Parts, holders: int) -> Parts:
    """A moment of one of so many `holders` of the weights. What belongs to no layer is
    whole in each of them during a pass, beside the layer at hand and the next one."""
    if holders == 1:
        return moment
    layer = (base.parameters - base.row_numbers) // base.shape.layers
    whole = FLOAT * (base.row_numbers + 2 * layer)
    divided = {name: -(-moment[name] // holders) for name in DIVIDED}
    divided["weights"] += whole
    # A copy of the gradients travels to those who add them up.
    divided["gradients"] += 2 * min(whole, moment["gradients"])
    return {**moment, **divided}


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
    new = base.added * shape.width * base.matrices
    rows = {"all": base.row_numbers, "none": 0, "new_rows": new}
    learn = getattr(stage, "adapter_embeddings", "new_rows")
    return rank * sides * shape.layers + rows[learn]


def _learning(
    base: Base,
    stage: StageSettings,
    learned: int,
    machine: Machine,
    holders: int,
    *,
    bfloat16: bool,
) -> Parts:
    """On the way back through the model, with everything held at once and whole."""
    device = "cuda" if machine.gpu else "cpu"
    fixed = FLOAT * base.parameters + 3 * FLOAT * learned
    row = _tokens_of_a_row(stage)
    twice = wants_checkpointing(
        # Preference tuning has no choice (training/tuning/sft.py).
        getattr(stage, "gradient_checkpointing", "on" if machine.gpu else "off"),
        base.shape,
        row,
        fixed_bytes=fixed / holders,
        memory_bytes=machine.device_bytes,
    )
    tokens = _tokens_of_a_pass(base, stage, device, twice)
    full = getattr(stage, "method", "") == "full"
    shares: dict[str, Any] = {
        "bfloat16": bfloat16,
        "rank": 0 if full else getattr(stage, "lora_rank", 0),
        "dropout": bool(not full and getattr(stage, "lora_dropout", 0)),
    }
    kept = bytes_of_a_token(base.shape, row, checkpointing=twice, **shares) * tokens
    if twice:
        kept += bytes_of_a_layer(base.shape, row, **shares) * tokens
    if not machine.gpu:
        kept += c.HOLES[not full, twice] * _outputs(base.shape, **shares) * tokens
    logits = min(tokens * base.rows, max(LOGITS_AT_ONCE[device], base.rows))
    again = full and getattr(stage, "trains", "") != "body"
    return {
        "process": c.CUDA_BYTES if machine.gpu else c.PROCESS_BYTES,
        "weights": base.parameters * (FLOAT + (2 if bfloat16 else 0)),
        "gradients": FLOAT * (learned + again * base.rows * base.shape.width),
        "optimizer": 2 * FLOAT * learned,
        "activations": kept,
        "logits": logits * FLOAT,
    }


def _tokens_of_a_row(stage: Any) -> int:
    """What a pass takes whole: a block, an example, a question with one answer."""
    return int(getattr(stage, "block_tokens", 0) or stage.maximum_tokens)


def _tokens_of_a_pass(base: Base, stage: Any, device: str, twice: bool) -> int:
    """Tokens that go through the model at once, of the batch of a step. A pair is two
    rows, and tuning divides its batch evenly."""
    row, rows = _tokens_of_a_row(stage), batch_of(stage)
    if stage.stage == "align_preferences":
        row *= 2
    most = tokens_at_once(base.shape, row, device, checkpointing=twice) // row
    if stage.stage != "continue_pretraining":
        most = max(1, min(rows, most, c.TUNED_AT_ONCE // row))
        most = max(n for n in range(1, most + 1) if rows % n == 0)
    return min(rows, most) * row


def _outputs(shape: Shape, *, bfloat16: bool, dropout: bool, **_: Any) -> float:
    """Bytes that the matrices of all layers put out for a token: queries, keys, values
    and output, gate, up and down; and their inputs, where something is dropped out: in
    bfloat16 these are made float32 first, and both are freed."""
    numbers = 3 * shape.width + 2 * (shape.key_width + shape.feed_forward)
    inputs = 6 * shape.width + shape.feed_forward
    size = numbers * (0.5 if bfloat16 else 1.0)
    size += dropout * inputs * (2.0 if bfloat16 else 1.0)
    return size * shape.layers * FLOAT


def _measuring(base: Base, learned: int, gpu: bool) -> Parts:
    """While held-out text is measured; the optimizer is there still."""
    logits = c.MEASURED_LOGITS["cuda" if gpu else "cpu"]
    tokens = min(c.MEASURED_AT_ONCE, logits // base.rows)
    vectors = 4 * base.shape.width + 3 * base.shape.feed_forward
    return {
        "process": c.CUDA_BYTES if gpu else c.PROCESS_BYTES,
        "weights": FLOAT * base.parameters,
        "gradients": 0,
        "optimizer": 2 * FLOAT * learned,
        "activations": tokens * vectors * FLOAT,
        "logits": tokens * base.rows * FLOAT * c.MEASURED_COPIES,
    }


def _saving(base: Base, learned: int) -> Parts:
    """While a model is written and read back: it is there twice, and the optimizer;
    before and after, the logits of the same texts are compared."""
    compared = min(c.COMPARED_LOGITS, c.COMPARED_TOKENS * base.rows)
    return {
        "process": c.PROCESS_BYTES,
        "weights": 2 * FLOAT * base.parameters,
        "gradients": 0,
        "optimizer": 2 * FLOAT * learned,
        "activations": 0,
        "logits": compared * FLOAT * c.COMPARED_SIDES,
    }
