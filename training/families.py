"""The model families that can be adapted, and what differs between them.

A base model is a folder of safetensors, a configuration of a known family and a
tokenizer. Code that a folder brings with it is never run, pickled weights never read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.errors import BaseUnsuitable, TokenizerMismatch

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast
    from transformers.configuration_utils import PretrainedConfig

# By the `model_type` of config.json. Gemma multiplies its embeddings after the look-up,
# so that its rows too are means of rows; GPT-2 keeps weights transposed (Conv1D).
FAMILIES = {
    "llama": "Llama",
    "mistral": "Mistral",
    "mixtral": "Mixtral",
    "qwen2": "Qwen 2",
    "qwen3": "Qwen 3",
    "qwen3_moe": "Qwen 3 (mixture of experts)",
    "gemma": "Gemma",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3 (text)",
    "gpt2": "GPT-2",
    "gpt_neox": "GPT-NeoX",
}
# transformers 5 builds these families' tokenizers from a pattern in its own code, whatever
# class and pattern the folder names: a changed pattern would be lost on loading.
FIXED_PATTERN = frozenset({"qwen2"})
# Names under which tokenizers carry a token that is never text and can be padding.
PADDING_NAMES = (
    "<|pad|>",
    "<pad>",
    "<|finetune_right_pad_id|>",
    "[PAD]",
    "<|padding|>",
    "<|fim_pad|>",
    "<|vision_pad|>",
    "<|reserved_special_token_0|>",
    "<unused0>",
    "<unk>",
)
END_NAMES = ("</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "<|im_end|>")
CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")


def check_family(config: PretrainedConfig | dict[str, Any]) -> None:
    """Refuse (BaseUnsuitable) a configuration that the engine cannot adapt."""
    values = config if isinstance(config, dict) else config.to_dict()
    kind = values.get("model_type") or "unknown"
    if kind not in FAMILIES:
        raise BaseUnsuitable(
            f"The base model is of the kind “{kind}”, which cannot be adapted here.",
            hint=f"Choose a model of one of these: {', '.join(FAMILIES.values())}.",
        )
    if values.get("quantization_config"):
        raise BaseUnsuitable(
            "The base model's weights are quantized, and such weights cannot learn.",
            hint="Choose the same model in float32, float16 or bfloat16.",
        )


def load_model(
    folder: Path,
    dtype: torch.dtype | str | None = None,
    device: Any = "cpu",
    quantization: Any = None,
) -> PreTrainedModel:
    """The causal language model in `folder`, in evaluation mode.

    `dtype`: None is float32, "auto" the type the weights are stored in; `quantization`
    is a quantization_config of transformers (training/adapters/__init__.py, qlora). Raises
    BaseUnsuitable where the family, the format or a weight is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM

    check_family(read_config(folder))
    if not any(folder.glob("*.safetensors")):
        raise BaseUnsuitable(
            "The base model has no weights in the safetensors format.",
            hint="Choose a model in safetensors; pickled weights are never read.",
        )
    rounded = {"quantization_config": quantization, "device_map": {"": device}}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype or torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **(rounded if quantization else {}),
        )
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise BaseUnsuitable(
            f"The base model's weights cannot be read: {problem}"
        ) from problem
    if report["missing_keys"] or report["mismatched_keys"]:
        names = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
        raise BaseUnsuitable(
            f"The base model's weights do not fit its configuration: {names[0]}"
            f" and {len(names) - 1} others are missing or of another shape."
        )
    for key in CODE_KEYS:
        if hasattr(model.config, key):
            delattr(model.config, key)
    return (model if quantization else model.to(device)).eval()


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as it stands; raises BaseUnsuitable where there is none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise BaseUnsuitable(
            "The base model's folder has no readable config.json."
        ) from problem
    return config


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in `folder`, exactly as its tokenizer.json describes it.

    transformers 5 rebuilds a tokenizer by the class its folder names, and the result
    can differ from the file; the model learned from the file, so the file wins, except
    where no reader of the folder could be given the file's (FIXED_PATTERN).
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as problem:
        raise BaseUnsuitable(
            f"The base model's tokenizer cannot be read: {problem}"
        ) from problem
    if not tokenizer.is_fast:
        raise BaseUnsuitable(
            "The base model's tokenizer has no tokenizer.json and cannot be converted."
        )
    path = folder / "tokenizer.json"
    changeable = read_config(folder).get("model_type") not in FIXED_PATTERN
    if path.is_file() and changeable and not _is_as_written(tokenizer, path):
        tokenizer = with_backend(tokenizer, Tokenizer.from_file(str(path)))
    return tokenizer


def with_backend(
    tokenizer: PreTrainedTokenizerFast, backend: Tokenizer
) -> PreTrainedTokenizerFast:
    """A tokenizer of the general class over `backend`, with the names and settings of
    another: special tokens, chat template, length, side of the padding.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **tokenizer.special_tokens_map,
        extra_special_tokens=list(tokenizer.extra_special_tokens),
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        model_input_names=tokenizer.model_input_names,
        chat_template=tokenizer.chat_template,
        clean_up_tokenization_spaces=False,
    )


def check_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse (TokenizerMismatch) a tokenizer with ids beyond the model's rows."""
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise TokenizerMismatch(
            f"The tokenizer has the id {highest} and the model only {rows} rows: they "
            "do not belong together.",
            hint="Check that the folder holds the tokenizer the model was made with.",
        )


def lora_targets(model: PreTrainedModel) -> list[str]:
    """Names of all linear layers but the head, for peft's `target_modules`."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, layer in model.named_modules()
            if isinstance(layer, (nn.Linear, Conv1D)) and layer is not head
        }
    )


def lora_experts(model: PreTrainedModel) -> list[str]:
    """Names of the fused weights of a mixture's experts, one matrix for each expert,
    for peft's `target_parameters`; none where the model is no mixture."""
    return [
        name
        for name, values in model.named_parameters()
        if values.dim() == 3 and "experts" in name.split(".")
    ]


def end_of_text_id(
    tokenizer: PreTrainedTokenizerFast, config: PretrainedConfig | None = None
) -> int:
    """The id that ends a text: the tokenizer's, else the configuration's."""
    if tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_vocab()
    stated = getattr(config, "eos_token_id", None)
    if isinstance(stated, (list, tuple)) and stated:
        stated = stated[0]
    if isinstance(stated, int) and stated in vocabulary.values():
        return stated
    for name in END_NAMES:
        if name in vocabulary:
            return vocabulary[name]
    raise BaseUnsuitable("The base model's tokenizer has no token that ends a text.")


def pad_token(
    tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel | None = None
) -> int:
    """Give the tokenizer (and the model) a padding token of its own; returns its id.

    Padding that is also end-of-text would hide every end from the loss, and the model
    would never stop. An existing token is taken where there is one; GPT-2 has none, so
    that one is added there, in a spare row or, with `model` given, in a new one.
    """
    ends = {end_of_text_id(tokenizer), *end_ids(model)}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        vocabulary = tokenizer.get_vocab()
        names = [*PADDING_NAMES, tokenizer.unk_token]
        free = [n for n in names if n in vocabulary and vocabulary[n] not in ends]
        if free:
            tokenizer.pad_token = free[0]
        else:
            fresh = next(name for name in PADDING_NAMES if name not in vocabulary)
            tokenizer.add_special_tokens({"pad_token": fresh})
    padding = int(tokenizer.pad_token_id)
    if model is not None:
        if padding >= model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(padding + 1)
        model.config.pad_token_id = padding
        model.generation_config.pad_token_id = padding
    return padding


def end_ids(model: PreTrainedModel | None) -> set[int]:
    """Every id at which the model's configuration says that a text ends."""
    found: set[int] = set()
    for source in (
        getattr(model, "config", None),
        getattr(model, "generation_config", None),
    ):
        stated = getattr(source, "eos_token_id", None)
        found.update(stated if isinstance(stated, (list, tuple)) else [stated])
    return found - {None}


def _is_as_written(tokenizer: PreTrainedTokenizerFast, path: Path) -> bool:
    """Whether the loaded tokenizer is what tokenizer.json describes."""
    from tokenizers import Tokenizer

    return _canonical(tokenizer.backend_tokenizer) == _canonical(
        Tokenizer.from_file(str(path))
    )


def _canonical(backend: Any) -> dict[str, Any]:
    """What decides how text is cut and joined; not padding and truncation."""
    plain = json.loads(backend.to_str())
    return {k: v for k, v in plain.items() if k not in ("padding", "truncation")}


def layer_names(model: PreTrainedModel) -> list[str]:
    """Names of the decoder layers, first to last."""
    import torch

    count = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return [f"{name}.{number}" for number in range(count)]
    return []
