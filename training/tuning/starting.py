"""The model that a tuning begins with: what the stages before left, in one piece."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from training import families, merging
from training.stages.merge import adapter_base

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from training.run import StageContext


def load_start(
    context: StageContext,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, torch.dtype, Path]:
    """(model in float32, tokenizer, type it is stored in, folder it came from).

    An adapter that the stage before left is put into the weights: what is trained now
    goes on from it, and the new adapter belongs to the sum.
    """
    folder = adapter_base(context.adapter, context.model)
    tokenizer = families.load_tokenizer(folder)
    model = families.load_model(folder)
    if context.adapter is not None:
        from peft import PeftModel

        tuned = PeftModel.from_pretrained(model, str(context.adapter))
        model = cast("PreTrainedModel", tuned.merge_and_unload(safe_merge=True))
    return model.eval(), tokenizer, merging.stored_dtype(folder), folder
