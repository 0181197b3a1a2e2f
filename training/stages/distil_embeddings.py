"""Teach the rows of new tokens; nothing else of the model changes.

Reads the new tokens of `extend_vocabulary` (vocabulary.json, and kept.json where old
tokens were numbered anew), the training text, the base as the teacher. Writes

    model/          the model with its new rows
    snippets.json   how many snippets each new token was seen in

Without new tokens the model is passed on as it is.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from training import compute, manifest, merging
from training.data.rows import read_texts
from training.data.tokens import fingerprint, start_id
from training.embeddings.distillation import Distillation, layers_through
from training.embeddings.snippets import Miner, Snippet
from training.errors import TooLittleText
from training.evaluation.bits_per_byte import maximum_positions
from training.evaluation.evaluator import Evaluator
from training.families import check_rows, load_model, load_tokenizer
from training.manifest import file_sha256
from training.spec import DistilEmbeddings
from training.vocabulary.lineage import Lineage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from training.run import StageContext

COMPARED_TEXTS, COMPARED_CHARACTERS = 4, 400
# Bits per byte of a model that knows nothing: every byte is as likely as any other. A
# teacher above this took Kazakh from 7.5 to 6.6 in 100 steps, next_token to 3.0.
KNOWS_NOTHING = 8.0


def run(context: StageContext) -> dict[str, Any]:
    """Distil and save; returns tokens, snippets, steps and the curve's ends.

    Raises TooLittleText where no new token is in the text, Diverged, OutOfMemory,
    ReloadDiffers, Stopped.
    """
    began = time.monotonic()
    settings = cast(DistilEmbeddings, context.settings)
    pieces, new = new_tokens(context)
    if not new:
        context.events.note("There are no new tokens: nothing to distil.")
        merging.link_folder(context.model, context.folder / "model")
        return {"tokens": 0, "snippets": 0, "steps": 0}

    warn_of_ignorance(context, settings)

    # 1. Both readers.
    with compute.memory_errors("The model and its teacher do not fit into memory."):
        model, teacher = load_both(context, settings.objective)
    tokenizer = load_tokenizer(context.model)
    old_tokenizer = load_tokenizer(Path(context.spec.base))
    if teacher is not None:
        check_rows(teacher, old_tokenizer)

    # 2. The text around the new tokens.
    miner = Miner(
        tokenizer,
        old_tokenizer,
        new=new,
        pieces=pieces,
        per_token=settings.snippets,
        tokens=settings.snippet_tokens,
        positions=maximum_positions(model),
    )
    snippets, found = mine(context, miner)

    # 3. Steps, curves, checkpoints.
    distillation = Distillation(
        model=model,
        teacher=teacher,
        ids=new,
        snippets=snippets,
        starts=(start_id(tokenizer), start_id(old_tokenizer)),
        settings=settings,
        seed=context.spec.seed,
        evaluator=Evaluator(
            model, tokenizer, context.spec, context.prepared, "validation"
        ),
        work=context.work,
        run_dir=context.run_dir,
        events=context.events,
        stop=context.stop,
    )
    with compute.memory_errors("A step does not fit into memory."):
        plan = distillation.make_plan(
            identity(context, tokenizer), time.monotonic() - began
        )
        loss = distillation.train(plan)

    # 4. Save, read back, compare.
    difference = save(context, model, tokenizer)
    return {
        **found,
        "steps": plan.steps,
        "layer": layers_through(model, settings.layer_share),
        "learning_rate": distillation.peak,
        "loss": loss,
        **distillation.last_bits(),
        "reload_difference": difference,
    }


def warn_of_ignorance(context: StageContext, settings: DistilEmbeddings) -> None:
    """A note where the base, as `prepare` measured it, has nothing to teach."""
    before = context.figures.get("prepare", {}).get("before", {})
    bits = before.get("bits_per_byte", {}).get("target")
    if settings.objective == "distil" and bits is not None and bits > KNOWS_NOTHING:
        context.events.note(
            f"The base needs {bits:.1f} bits for a byte of this language, more than by "
            "guessing: it has little to teach, and the objective next_token does more.",
            level="warning",
        )


def load_both(
    context: StageContext, objective: str
) -> tuple[PreTrainedModel, PreTrainedModel | None]:
    """The extended model and, where it teaches, the base. On a GPU they keep the type
    they are stored in: the body is frozen, and the new rows are float32 in any case."""
    device = compute.prepare_device(context.spec.device)
    compute.seed_everything(context.spec.seed)
    dtype = merging.stored_dtype(context.model) if device.type == "cuda" else None
    model = load_model(context.model, dtype=dtype, device=device)
    if objective == "next_token":
        return model, None
    return model, load_model(Path(context.spec.base), dtype=dtype, device=device)


def new_tokens(context: StageContext) -> tuple[dict[int, tuple[int, ...]], list[int]]:
    """Base ids by id of the extended tokenizer, and the ids that are new.

    Where the vocabulary was replaced, the old tokens that stayed are in the first too.
    """
    lineage = Lineage.read(context.finished.get("extend_vocabulary"))
    pieces = {token["id"]: tuple(token["base_ids"]) for token in lineage.tokens}
    pieces |= {new: (old,) for new, old in (lineage.kept or {}).items()}
    return pieces, [token["id"] for token in lineage.tokens]


def mine(context: StageContext, miner: Miner) -> tuple[list[Snippet], dict[str, Any]]:
    """The snippets of the training text and figures of them; writes snippets.json.

    Raises TooLittleText where there is nothing to learn from.
    """
    snippets = list(miner.mine(read_texts(context.prepared / "target-train.jsonl")))
    if not snippets:
        raise TooLittleText(
            "None of the new tokens is in the training text: there is nothing to "
            "distil from."
        )
    counts = {str(id_): count for id_, count in sorted(miner.found.items())}
    manifest.write_json(context.folder / "snippets.json", counts)
    few = sum(count < miner.per_token for count in miner.found.values())
    none = sum(not count for count in miner.found.values())
    if few:
        context.events.note(
            f"{few:,} of {len(counts):,} new tokens are in fewer than "
            f"{miner.per_token} pieces of the text, {none:,} of them in none."
        )
    return snippets, {
        "tokens": len(counts),
        "snippets": len(snippets),
        "snippet_tokens": sum(len(snippet.student) for snippet in snippets),
        "tokens_with_few_snippets": few,
        "tokens_without_snippets": none,
    }


def identity(
    context: StageContext, tokenizer: PreTrainedTokenizerFast
) -> dict[str, Any]:
    """What a checkpoint is only good for: text, tokenizer, models, settings, seed."""
    folders = {"weights": context.model, "teacher": Path(context.spec.base)}
    return {
        **asdict(context.settings),
        "text": file_sha256(context.prepared / "target-train.jsonl"),
        "seed": context.spec.seed,
        "tokenizer": fingerprint(tokenizer),
        **{
            name: [file_sha256(path) for path in sorted(folder.glob("*.safetensors"))]
            for name, folder in folders.items()
        },
    }


def save(
    context: StageContext,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
) -> float:
    """Write model/ in the type it came in; the largest difference read back."""
    stored = merging.stored_dtype(context.model)
    held_out = read_texts(context.prepared / "target-held_out.jsonl")
    texts = [text[:COMPARED_CHARACTERS] for text in islice(held_out, COMPARED_TEXTS)]
    model = model.cpu()
    # Measured in float32 after rounding, and then rounded again to the same bits.
    merging.cast_weights(merging.cast_weights(model, stored), torch.float32)
    expected = merging.measure(model, merging.encode(tokenizer, texts))
    merging.cast_weights(model, stored)
    folder = context.folder / "model"
    merging.save_model(model, tokenizer, folder, context.model)
    return merging.verify_folder(folder, tokenizer, texts, expected)
