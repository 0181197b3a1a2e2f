"""Low-rank additions to a model: attach, merge exactly, save over the base they came from.

Shared by continued pretraining and instruction tuning. The variants:

    lora     W + alpha/r * B A                       Hu et al. 2022
    rslora   the same, scaled by alpha/sqrt(r)       Kalajdzievski 2023
    dora     direction and magnitude apart           Liu et al. 2024
    pissa    B A starts as W's largest singular part Meng et al. 2024
    olora    B A starts as a part of W's QR          Büyükakyüz 2024
    loftq    W is rounded to NF4, B A takes the rest Li et al. 2023
    qlora    W is held in NF4 by bitsandbytes        Dettmers et al. 2023

pissa, olora and loftq take from the base what they put into the additions. They are made
here and not by peft, whose OLoRA does not know transposed weights (GPT-2) and whose
LoftQ needs a GPU; to peft they are ordinary LoRA, so that nothing is made twice on
loading.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file, save_file

from training.adapters.nf4 import round_to_nf4
from training.errors import BaseUnsuitable, SpecInvalid
from training.families import lora_experts, lora_targets
from training.merging import is_tied
from training.pretraining import selection
from training.spec import STAGES, unfit

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from peft.tuners.lora import LoraLayer
    from transformers import PreTrainedModel

LOW_RANK = ("lora", "qlora", "dora", "rslora", "pissa", "olora", "loftq")
# Their additions hold a part of the base, and the base lacks it.
FROM_WEIGHTS = ("pissa", "olora", "loftq")
# Their additions belong to a rounded base, not to the one that was given.
ROUNDED_BASE = ("qlora", "loftq")
# LoftQ alternates rounding and decomposing. Of a layer of the sample base rounding loses
# 9.2 %; with rank 16 one round leaves 8.5 %, five 7.6 %, ten 7.4 %.
LOFTQ_ROUNDS = 5
ADAPTER = "default"


@dataclass(frozen=True)
class Additions:
    """What is added and what learns beside it.

    `modules` is all, attention or feed_forward; `first_layers` and `last_layers` as in
    `selection.chosen_layers`. `embeddings` says what of the input and output matrices
    learns: new_rows (`rows`, ids), all or none.
    """

    method: str = "lora"
    rank: int = 64
    alpha: int = 128
    dropout: float = 0.0
    modules: str = "all"
    first_layers: float = 0.0
    last_layers: float = 0.0
    embeddings: str = "new_rows"
    rows: tuple[int, ...] = ()

    @classmethod
    def of(cls, settings: Any, rows: Sequence[int] = ()) -> Additions:
        """From a stage's settings: method, lora_rank, lora_alpha, lora_dropout, modules,
        first_layers, last_layers, adapter_embeddings; what a stage does not offer
        keeps its default."""
        return cls(
            method=getattr(settings, "method", "lora"),
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            dropout=getattr(settings, "lora_dropout", 0.0),
            modules=getattr(settings, "modules", "all"),
            first_layers=getattr(settings, "first_layers", 0.0),
            last_layers=getattr(settings, "last_layers", 0.0),
            embeddings=getattr(settings, "adapter_embeddings", "new_rows"),
            rows=tuple(rows),
        )


def _unfit(stage: str, setting: str, words: str) -> SpecInvalid:
    return unfit(stage, STAGES[stage], setting, words)


def check(additions: Additions, stage: str) -> None:
    """Refuse what cannot be done on this machine, before anything is loaded.

    Raises SpecInvalid naming the setting.
    """
    if additions.method not in LOW_RANK:
        known = ", ".join(LOW_RANK)
        raise _unfit(stage, "method", f"choose one of {known}")
    if additions.method == "qlora" and not _bitsandbytes_imports():
        raise _unfit(
            stage,
            "method",
            "qlora needs the library bitsandbytes, which this machine has not; choose "
            "lora, or loftq for a model that will be quantized",
        )


def _bitsandbytes_imports() -> bool:
    try:
        import bitsandbytes  # noqa: F401
    except Exception:  # noqa: BLE001 - it fails in many ways where its kernels do not fit
        return False
    return True


def attach(
    model: PreTrainedModel,
    additions: Additions,
    *,
    stage: str,
    start: Path | None = None,
) -> PeftModel:
    """The model with its additions; nothing else of it learns but chosen rows.

    `start`: a file that keeps what pissa, olora and loftq begin with. It is written the
    first time and read ever after: a run resumed on another machine, where a
    decomposition can round otherwise, goes on from the same numbers.

    Raises SpecInvalid or BaseUnsuitable where the model cannot be given them.
    """
    from peft import get_peft_model
    from peft.tuners.lora.layer import ParamWrapper

    check(additions, stage)
    config = _config(model, additions, stage)
    for module in model.modules():
        # On a CPU bitsandbytes rounds scales once more when a model is first evaluated,
        # for good: what is trained would then depend on when it was measured.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    try:
        tuned = cast("PeftModel", get_peft_model(model, config))
    except (ValueError, TypeError) as problem:
        raise BaseUnsuitable(
            f"Low-rank additions cannot be made to this model: {problem}",
            hint="Choose full training, or another base model.",
        ) from problem
    tuned.additions = additions
    if config.target_parameters and additions.dropout:
        for _, layer in layers_of(tuned):
            if not isinstance(layer, ParamWrapper):
                layer.lora_dropout[ADAPTER] = torch.nn.Dropout(additions.dropout)
    if additions.method in FROM_WEIGHTS:
        tuned.additions_start = _start_from_weights(tuned, additions.method, start)
    return tuned


def _config(model: PreTrainedModel, additions: Additions, stage: str) -> LoraConfig:
    from peft import LoraConfig

    modules, experts = targets(model, additions)
    if not modules and not experts:
        raise _unfit(
            stage,
            "modules",
            f"this model has no {additions.modules} modules in the chosen layers; choose "
            "all, or other layers",
        )
    if experts:
        _refuse_on_experts(additions, stage)
    tied = is_tied(model)
    matrices = [model.get_input_embeddings()]
    if not tied:
        matrices.append(model.get_output_embeddings())
    names = {id(module): name for name, module in model.named_modules()}
    found = [names[id(module)] for module in matrices if module is not None]
    rows = {name: list(additions.rows) for name in found}
    whole = additions.embeddings == "all"
    some = additions.embeddings == "new_rows" and additions.rows
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=additions.rank,
        lora_alpha=additions.alpha,
        # peft refuses it on experts; `attach` gives it to the layers that can have it.
        lora_dropout=0.0 if experts else additions.dropout,
        use_rslora=additions.method == "rslora",
        use_dora=additions.method == "dora",
        target_modules=modules,
        target_parameters=experts or None,
        trainable_token_indices=rows if some else None,
        # A list of rows or modules would train the input alone where input and output
        # are two matrices, and make two of them where they are one.
        modules_to_save=[name.rpartition(".")[2] for name in found] if whole else None,
        ensure_weight_tying=bool(whole and tied),
    )


def targets(
    model: PreTrainedModel, additions: Additions
) -> tuple[list[str], list[str]]:
    """Names of the linear layers and of the fused expert weights that get additions.

    The last part of a name stands for all modules called so; where only some layers
    are chosen, names are whole.
    """
    layers = selection.layer_names(model)
    numbers = selection.chosen_layers(
        len(layers), additions.first_layers, additions.last_layers
    )
    everything = additions.modules == "all" and len(numbers) == len(layers)

    def chosen(names: list[str]) -> list[str]:
        if everything:
            return names
        return [
            name
            for name in names
            if selection.is_chosen(name, layers, numbers, additions.modules)
        ]

    short = lora_targets(model)
    linear = [
        name for name, _ in model.named_modules() if name.rpartition(".")[2] in short
    ]
    return (short if everything else chosen(linear)), chosen(lora_experts(model))


def _refuse_on_experts(additions: Additions, stage: str) -> None:
    """The experts of a mixture are one matrix of three dimensions."""
    if additions.method in (*FROM_WEIGHTS, "dora"):
        raise _unfit(
            stage,
            "method",
            f"{additions.method} cannot be made to the experts of this model; choose "
            "lora or rslora, or the modules “attention”",
        )


def layers_of(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """Names and modules that carry additions."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and ADAPTER in module.lora_A:
            yield name, module


@torch.no_grad()
def _start_from_weights(
    model: PeftModel, method: str, path: Path | None
) -> dict[str, torch.Tensor]:
    """Set base, A and B of every layer; returns the A and B that were begun with."""
    stored = load_file(path) if path is not None and path.is_file() else {}
    begun = dict(stored)
    for name, layer in layers_of(model):
        base = layer.get_base_layer()
        turned = bool(getattr(layer, "fan_in_fan_out", False))
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        if not stored:
            weight = base.weight.float().T if turned else base.weight.float()
            scale = layer.scaling[ADAPTER]
            left, first, second = _decompose(weight, a, b, scale, method)
            begun |= {
                f"{name}.base": left.contiguous(),
                f"{name}.a": first.contiguous(),
                f"{name}.b": second.contiguous(),
            }
        left = begun[f"{name}.base"]
        base.weight.copy_(left.T if turned else left)
        a.copy_(begun[f"{name}.a"])
        b.copy_(begun[f"{name}.b"])
    if path is not None and not stored:
        part = path.with_name(path.name + ".part")
        save_file(begun, part)
        part.replace(path)
    return {k: v for k, v in begun.items() if not k.endswith(".base")}


def _decompose(
    weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float, method: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(base, A, B) with base + scale * B A = `weight` [out, in], but for loftq's rest.

    Where the weight has fewer directions than A has rows, the others begin as in LoRA:
    A as it is, B zero.
    """
    if method == "olora":
        q, r = torch.linalg.qr(weight)
        first, second = _fill(a, b, r, q)
        return weight - scale * second @ first, first, second
    if method == "pissa":
        first, second = _largest_part(weight, a, b, scale)
        return weight - scale * second @ first, first, second
    first, second = torch.zeros_like(a), torch.zeros_like(b)
    for _ in range(LOFTQ_ROUNDS):
        rounded = round_to_nf4(weight - scale * second @ first)
        first, second = _largest_part(weight - rounded, a, b, scale)
    return rounded, first, second


def _largest_part(
    weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B of the largest singular values: scale * B A is the best of its rank."""
    u, values, v = torch.linalg.svd(weight, full_matrices=False)
    root = (values / scale).sqrt()
    return _fill(a, b, root[:, None] * v, u * root)


def _fill(
    a: torch.Tensor, b: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B with as many of these rows and columns as they have place for."""
    rank = min(len(a), len(rows))
    first, second = a.detach().clone(), torch.zeros_like(b)
    first[:rank], second[:, :rank] = rows[:rank], columns[:, :rank]
    return first, second


def merge(model: PeftModel) -> PreTrainedModel:
    """The plain model with the additions in its weights, summed up in their own type.

    A base in NF4 is first written out: peft would round the sum to NF4 again.
    """
    if model.additions.method == "qlora":
        _write_out(model)
    return cast("PreTrainedModel", model.merge_and_unload(safe_merge=True))


@torch.no_grad()
def _write_out(model: PeftModel) -> None:
    """Put float32 matrices, the additions in them, in place of the 4-bit ones."""
    from peft.utils.integrations import dequantize_module_weight

    plain = model.get_base_model()
    for name, layer in list(layers_of(model)):
        base = layer.get_base_layer()
        if not hasattr(getattr(base, "weight", None), "quant_state"):
            continue  # the experts of a mixture: bitsandbytes rounds linear layers only
        weight = dequantize_module_weight(base).float()
        weight = weight + layer.get_delta_weight(ADAPTER).float()
        merged = torch.nn.Linear(
            *weight.T.shape, bias=base.bias is not None, device=weight.device
        )
        merged.weight.copy_(weight)
        if base.bias is not None:
            merged.bias.copy_(base.bias)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, merged)
    for holder, name in (
        (plain.config, "quantization_config"),
        (plain, "hf_quantizer"),
        (plain, "quantization_method"),
    ):
        if hasattr(holder, name):
            delattr(holder, name)
    plain.is_loaded_in_4bit = plain.is_quantized = False


def quantization(additions: Additions) -> Any:
    """The quantization_config to load the base with: NF4 for qlora, else None."""
    if additions.method != "qlora":
        return None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
    )


def save_adapter(model: PeftModel, into: Path) -> None:
    """Write the additions as an adapter of the base that `attach` was given.

    pissa and olora moved a part of the base into the additions: written is the
    difference to what they began with, an ordinary LoRA of twice the rank. loftq and
    qlora belong to a rounded base: they are merged, not saved (ROUNDED_BASE).
    """
    additions = model.additions
    if additions.method in ROUNDED_BASE:
        raise ValueError(f"{additions.method} has no adapter of the given base")
    model.save_pretrained(into)
    (into / "README.md").unlink(missing_ok=True)
    config_path = into / "adapter_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None  # a path of this machine
    if additions.method in FROM_WEIGHTS:
        _save_difference(model, into / "adapter_model.safetensors")
        config["r"], config["lora_alpha"] = 2 * additions.rank, 2 * additions.alpha
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _save_difference(model: PeftModel, path: Path) -> None:
    """Put beside A and B what they began with, B's part turned round."""
    tensors = load_file(path)
    for name, _ in layers_of(model):
        begun = model.additions_start
        first, second = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        tensors[first] = torch.cat([tensors[first], begun[f"{name}.a"].cpu()])
        tensors[second] = torch.cat([tensors[second], -begun[f"{name}.b"].cpu()], 1)
    save_file(tensors, path, metadata={"format": "pt"})
