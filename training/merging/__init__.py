"""Put a LoRA adapter into the weights, save, read back from disk, compare.

`merge_adapter` is what every stage uses that ends with an adapter; `verify_folder` is
the check alone. Nothing is believed that was not read back: libraries have lost trained
heads, untied tied matrices and kept old end-of-text ids while saving.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import freed_memory
from training.errors import ReloadDiffers
from training.families import load_tokenizer
from training.templates import (
    agree_on_special_ids,
    describe,
    has_own_pad,
    special_id_differences,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
# What goes along with every copy of a model; the table of a romanised one too.
LICENCES = ("LICEN[CS]E*", "NOTICE*", "romanisation.json")
COMPARED_TEXTS = 8
COMPARED_CHARACTERS = 400
# Reading back what was written must give the same numbers; the allowance is for kernels
# that add up in another order.
READ_BACK_TOLERANCE = 1e-4
# Logits that one side of a comparison keeps, in numbers (64 MB): two or three sides are
# held at once, and whole texts over 128,000 rows were 0.5 GB each.
LOGITS_COMPARED = 2**24
NEUTRAL_TEXTS = ("The quick brown fox.", "1 + 1 = 2\n\nπ ≈ 3,14 — Ωκ. 漢字 كتاب")


@dataclass(frozen=True)
class Facts:
    """What must be the same in memory and on disk."""

    logits: list[torch.Tensor]
    tied: bool
    input_rows: int
    output_rows: int
    dtype: torch.dtype


def merge_adapter(
    *,
    base: Path,
    adapter: Path | None,
    into: Path,
    held_out: Iterable[str] = (),
    tolerance: float = 1e-3,
) -> dict[str, Any]:
    """Merge `adapter` into the model of the folder `base`; the folder `into` gets both
    weights and tokenizer. Returns figures.

    The tokenizer is that of `base`, which has the rows for it. Sums are made in float32
    and rounded at the end to the type that `base` is stored in. Without an adapter the
    model is saved as it is.

    Raises ReloadDiffers, naming what differs and by how much, when the model with the
    adapter, the merged one and the one read back from `into` are not the same.
    """
    tokenizer = load_tokenizer(base)
    texts = _compared(held_out)
    ids = encode(tokenizer, texts)
    model, stored = _load(base)
    tied = is_tied(model)
    before = measure(model, ids)
    if adapter is not None:
        model, before = _merged(model, adapter, ids)
    merged = measure(model, ids)
    figures = {
        "largest_logit_difference": largest_difference(before.logits, merged.logits),
        "adapter": adapter is not None,
    }
    refuse_logits("merged", figures["largest_logit_difference"], tolerance)
    if merged.tied != tied:
        raise ReloadDiffers("Merging changed whether input and output rows are one.")
    cast_weights(cast_weights(model, stored), merged.dtype)
    rounded = measure(model, ids)
    figures["rounding_difference"] = largest_difference(merged.logits, rounded.logits)
    save_model(cast_weights(model, stored), tokenizer, into, base)
    del model
    figures["reload_difference"] = verify_folder(into, tokenizer, texts, rounded)
    figures["dtype"] = str(stored).removeprefix("torch.")
    return figures


def _merged(
    model: PreTrainedModel, adapter: Path, ids: list[list[int]]
) -> tuple[PreTrainedModel, Facts]:
    """The model with the adapter in its weights, and facts of it before merging."""
    from peft import PeftModel

    with_adapter = PeftModel.from_pretrained(model, str(adapter))
    facts = measure(with_adapter, ids)
    return with_adapter.merge_and_unload(safe_merge=True), facts


def stored_dtype(folder: Path) -> torch.dtype:
    """The type that a model folder's weights are stored in."""
    import torch
    from transformers import AutoConfig

    return getattr(AutoConfig.from_pretrained(folder), "dtype", None) or torch.float32


def cast_weights(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The model with its weights in another type, and its buffers as they are.

    `model.to(bfloat16)` also rounds the frequencies of rotary positions (by 0.0004 of 1
    in Llama's), and a model read from disk has them exact: what is trained or compared
    after it is another model.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def _load(folder: Path) -> tuple[PreTrainedModel, torch.dtype]:
    """The model in float32 and the type it is stored in."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), stored_dtype(folder)


def _compared(held_out: Iterable[str]) -> list[str]:
    """A few pieces of text to compare on, never none."""
    pieces = [text[:COMPARED_CHARACTERS] for text in held_out if text.strip()]
    return pieces[:COMPARED_TEXTS] + list(NEUTRAL_TEXTS)


def encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Ids of each text; a text of no ids is left out."""
    found = (tokenizer(text)["input_ids"] for text in texts)
    return [ids for ids in found if ids]


def is_tied(model: PreTrainedModel) -> bool:
    """Whether input and output rows are the same memory."""
    output = model.get_output_embeddings()
    if output is None:
        return False
    one = model.get_input_embeddings().weight
    return one.data_ptr() == output.weight.data_ptr()


def measure(model: Any, ids: list[list[int]]) -> Facts:
    """Logits (float32, on the CPU) and shape of a model, with or without adapter.

    Of each text the logits of its last tokens, which have read all others: as many as
    LOGITS_COMPARED has place for, one at least.
    """
    import torch

    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    device = next(plain.parameters()).device
    limit = getattr(plain.config.get_text_config(), "max_position_embeddings", 0) or 512
    rows = plain.get_input_embeddings().weight.shape[0]
    last = max(1, LOGITS_COMPARED // (rows * max(1, len(ids))))
    model.eval()
    with torch.no_grad():
        logits = [
            # A copy: a part of a tensor would keep the whole.
            model(input_ids=torch.tensor([row[:limit]], device=device))
            .logits[0, -last:]
            .to("cpu", torch.float32, copy=True)
            for row in ids
        ]
    output = plain.get_output_embeddings()
    return Facts(
        logits=logits,
        tied=is_tied(plain),
        input_rows=rows,
        output_rows=rows if output is None else output.weight.shape[0],
        dtype=next(plain.parameters()).dtype,
    )


def largest_difference(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """Largest absolute difference; infinite where shapes or finiteness differ."""
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        if a.shape != b.shape:
            return float("inf")
        gap = (a - b).abs().max().item()
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    into: Path,
    licence_from: Path | None = None,
) -> None:
    """Write weights (safetensors), tokenizer with its template and generation config.

    Licence files of `licence_from` go along: a changed model stays under its licence.
    """
    from transformers import GenerationConfig

    if _chats(tokenizer):
        agree_on_special_ids(model, tokenizer, describe(tokenizer))
    model.config.get_text_config().tie_word_embeddings = is_tied(model)
    try:
        model.generation_config.validate(strict=True)
    except ValueError:
        # Published settings that contradict themselves are refused once an id in them
        # was changed; the ids are what must not be lost.
        ids = {name: getattr(model.generation_config, name) for name in SPECIAL_IDS}
        model.generation_config = GenerationConfig(**ids)
    into.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(into)
    tokenizer.save_pretrained(into)
    if licence_from:
        copy_licence(licence_from, into)


def copy_licence(source: Path, into: Path) -> None:
    """The licence files of a model folder, and its romanisation, into another one."""
    for pattern in LICENCES:
        for path in source.glob(pattern):
            shutil.copyfile(path, into / path.name)


def _chats(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer has all that a chat needs; a raw base may not yet."""
    template = tokenizer.chat_template
    return isinstance(template, str) and has_own_pad(tokenizer, describe(tokenizer))


def verify_folder(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    expected: Facts,
    *,
    tolerance: float = READ_BACK_TOLERANCE,
) -> float:
    """Read a model folder back and compare it; returns the largest logit difference.

    Raises ReloadDiffers naming the first thing that differs.
    """
    from transformers import AutoTokenizer

    again = AutoTokenizer.from_pretrained(folder)
    _compare_tokenizers(tokenizer, again, texts)
    freed_memory.give_back()
    model, _ = _load(folder)
    ids = encode(again, texts)
    found = measure(model, ids)
    for name in ("tied", "input_rows", "output_rows"):
        if getattr(found, name) != getattr(expected, name):
            raise ReloadDiffers(
                f"The model read back from disk has {name} = {getattr(found, name)}, "
                f"in memory it was {getattr(expected, name)}."
            )
    if model.config.get_text_config().tie_word_embeddings != found.tied:
        raise ReloadDiffers("The saved config says otherwise whether rows are tied.")
    highest = max(again.get_vocab().values())
    if highest >= found.input_rows:
        raise ReloadDiffers(
            f"The tokenizer has the id {highest}, the model only "
            f"{found.input_rows} rows."
        )
    differences = special_id_differences(model, again) if _chats(again) else []
    if differences:
        raise ReloadDiffers("Special tokens differ: " + "; ".join(differences) + ".")
    gap = largest_difference(expected.logits, found.logits)
    refuse_logits("read back from disk", gap, tolerance)
    return gap


def _compare_tokenizers(
    one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase, texts: list[str]
) -> None:
    for text in texts:
        if one(text)["input_ids"] != other(text)["input_ids"]:
            raise ReloadDiffers(
                f"The tokenizer read back from disk splits {text[:40]!r} otherwise."
            )
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "chat_template"):
        if getattr(one, name) != getattr(other, name):
            raise ReloadDiffers(
                f"The tokenizer read back from disk has another {name}: "
                f"{getattr(other, name)!r}, not {getattr(one, name)!r}."
            )
    if set(one.all_special_ids) != set(other.all_special_ids):
        raise ReloadDiffers("The tokenizer read back has other special tokens.")


def refuse_logits(which: str, gap: float, tolerance: float) -> None:
    """Raise ReloadDiffers where logits are further apart than `tolerance`; `which` model
    gave the other ones."""
    if not gap <= tolerance:
        raise ReloadDiffers(
            f"The {which} model gives other logits: the largest difference is "
            f"{gap:.3g}, {tolerance:g} is allowed."
        )


def link_folder(source: Path, into: Path) -> None:
    """The files of `source` in `into`, without a second copy where the disk allows."""
    into.mkdir(parents=True, exist_ok=True)
    for path in sorted(p for p in source.iterdir() if p.is_file()):
        if path.name == "manifest.json":
            continue
        try:
            os.link(path, into / path.name)
        except OSError:
            shutil.copy2(path, into / path.name)
