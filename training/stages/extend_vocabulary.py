"""Stage: change the tokenizer for the language and give the model rows for it.

model/             Hugging Face folder: configuration, weights, tokenizer
vocabulary.json    the new tokens: id, text, occurrences, pieces they stand for
kept.json          new id -> base id of carried rows, where old ids moved
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import families, manifest, merging
from training.data.rows import read_labelled, read_texts
from training.errors import TokenizerMismatch
from training.evaluation.tokenizer_figures import tokenizer_figures
from training.spec import ExtendVocabulary
from training.vocabulary import extension, methods, special_ids
from training.vocabulary.change import Change, unreachable
from training.vocabulary.counting import count_characters
from training.vocabulary.lineage import Lineage

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from training.run import StageContext

# Files of a base folder that are no weights: carried over when the tokenizer is kept.
KEPT = ("*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt")
NEVER = ("training_args.json", "manifest.json")
# Methods that add pieces, and how many at most is a setting of.
ADDING = ("continued_bpe", "append")


def run(context: StageContext) -> dict[str, Any]:
    """Extend, initialise, save, read back; returns the stage's figures."""
    settings = context.settings
    assert isinstance(settings, ExtendVocabulary)
    training = context.prepared / "target-train.jsonl"
    protected = context.prepared / "protected-train.jsonl"
    validation = list(read_texts(context.prepared / "target-validation.jsonl"))
    tokenizer = families.load_tokenizer(context.model)
    config = families.read_config(context.model)
    families.check_family(config)
    before = tokenizer_figures(tokenizer, validation)
    folder = context.folder / "model"
    lineage = Lineage.read(context.finished.get("extend_vocabulary"))
    adds = settings.method in ADDING
    if settings.method == "keep" or (adds and settings.new_tokens == 0):
        share = extension.unreadable_share(
            tokenizer.backend_tokenizer, count_characters(read_texts(training))
        )
        extension.refuse_unreadable(share)
        copy_model(context.model, folder)
        lineage.write(context.folder)
        return figures(before, before, [], validation, tokenizer, "")
    change = methods.change(
        tokenizer.backend_tokenizer,
        lambda: read_labelled(training),
        settings,
        protected=lambda: read_texts(protected) if protected.is_file() else (),
        fixed=special_ids.named(config) | set(tokenizer.all_special_ids),
        change_pattern=config["model_type"] not in families.FIXED_PATTERN,
        held_out=read_labelled(context.prepared / "target-validation.jsonl"),
    )
    context.stop.raise_if_requested()
    model = families.load_model(context.model, dtype="auto")
    families.check_rows(model, tokenizer)
    add_rows(context, model, change.tokens, change.backend, change.kept)
    save(model, tokenizer, change, context.model, folder)
    tokenizer = check_saved(folder, change.backend, validation)
    lineage.after(change).write(context.folder)
    note(context, settings, change)
    after = tokenizer_figures(tokenizer, validation)
    made = figures(before, after, change.tokens, validation, tokenizer, change.marks)
    return {**made, **change.figures}


def note(context: StageContext, settings: ExtendVocabulary, change: Change) -> None:
    """Say what came out otherwise than one may expect."""
    if change.marks_cut:
        context.events.note(
            "This kind of model cuts words at vowel signs and other marks, and that "
            "cannot be changed: text in this script stays longer than it need be.",
            level="warning",
        )
    adds = settings.method in ADDING and settings.size == "fixed"
    if adds and len(change.tokens) < settings.new_tokens:
        context.events.note(
            f"{len(change.tokens)} pieces were added: no other was seen "
            f"{settings.minimum_occurrences} times."
        )
    if settings.method == "prune" and not change.figures["removed"]:
        context.events.note("No piece was taken out: both texts use them all.")
    vocabulary = change.backend.get_vocab()
    gaps = max(vocabulary.values()) + 1 - len(vocabulary)
    if change.kept is not None and gaps > settings.round_rows_to:
        context.events.note(
            f"{gaps} rows stay empty, because special tokens come after them. The "
            "setting “Numbers of special tokens” can move them.",
            level="warning",
        )


def add_rows(
    context: StageContext,
    model: PreTrainedModel,
    tokens: Sequence[extension.NewToken],
    new: Tokenizer,
    kept: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """Rows for the tokens of the tokenizer `new`, in place; returns figures.

    `kept`: None where every old id stays, else new id -> old id of carried rows.
    """
    from training import embeddings
    from training.embeddings.material import request

    made = embeddings.initialise(model, request(context, tokens, new, kept))
    silent = made["tokens"] - made["covered"]
    if silent:
        context.events.note(
            f"{silent:,} of {made['tokens']:,} new tokens start as the mean of their "
            f"pieces: the method {made['method']} has nothing to say about them."
        )
    return made


def copy_model(source: Path, folder: Path) -> None:
    """The base as it is, without pickles and code."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in KEPT:
        for path in source.glob(pattern):
            if path.name not in NEVER:
                shutil.copyfile(path, folder / path.name)
    merging.copy_licence(source, folder)
    _strip_code(folder)


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    change: Change,
    source: Path,
    folder: Path,
) -> None:
    """Write model and tokenizer; the generation settings are carried over verbatim,
    but for ids that moved.

    The tokenizer is saved under the general class: transformers rebuilds the named ones
    from their vocabulary, and loses what was changed around it.
    """
    from transformers import GenerationConfig

    numbering = {old: new for new, old in (change.kept or {}).items()}
    values = model.config.to_dict()
    for name, value in special_ids.renumbered(values, numbering).items():
        if value != values[name]:
            setattr(model.config, name, value)
    model.generation_config = GenerationConfig.from_model_config(model.config)
    model.save_pretrained(folder)
    carried = source / "generation_config.json"
    if carried.is_file() and change.kept is None:
        shutil.copyfile(carried, folder / "generation_config.json")
    elif carried.is_file():
        values = json.loads(carried.read_text(encoding="utf-8"))
        values = special_ids.renumbered(values, numbering)
        manifest.write_json(folder / "generation_config.json", values)
    families.with_backend(tokenizer, change.backend).save_pretrained(folder)
    merging.copy_licence(source, folder)
    _strip_code(folder)


def check_saved(
    folder: Path, backend: Tokenizer, texts: Iterable[str]
) -> PreTrainedTokenizerFast:
    """The tokenizer as AutoTokenizer gives it back, equal to `backend` on the texts."""
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    for text in texts:
        for line in text.splitlines():
            if loaded(line, verbose=False)["input_ids"] != backend.encode(line).ids:
                raise TokenizerMismatch(
                    f"The saved tokenizer, read back, cuts {line[:60]!r} in another way."
                )
    return loaded


def figures(
    before: dict[str, Any],
    after: dict[str, Any],
    tokens: list[extension.NewToken],
    validation: list[str],
    tokenizer: PreTrainedTokenizerFast,
    marks: str,
) -> dict[str, Any]:
    """The stage's figures; those of the tokenizers are on the validation text."""
    seen: set[int] = set()
    for encoding in tokenizer.backend_tokenizer.encode_batch_fast(validation):
        seen.update(encoding.ids)
    used = sum(token.id in seen for token in tokens)
    return {
        "vocabulary_before": before["vocabulary"],
        "vocabulary_after": after["vocabulary"],
        "added": len(tokens),
        "added_characters": sum(not token.parts for token in tokens),
        "unreachable": len(
            unreachable(
                tokenizer.backend_tokenizer, {token.piece: token.id for token in tokens}
            )
        ),
        "used_on_validation": round(used / len(tokens), 4) if tokens else 0.0,
        "marks_kept_with_letters": len(marks),
        "characters_per_token_before": before["characters_per_token"],
        "characters_per_token_after": after["characters_per_token"],
        "tokens_per_word_before": before["tokens_per_word"],
        "tokens_per_word_after": after["tokens_per_word"],
    }


def _strip_code(folder: Path) -> None:
    """Take every mention of code out of the JSON files of a model folder."""
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        values = json.loads(path.read_text(encoding="utf-8"))
        if any(key in values for key in families.CODE_KEYS):
            kept = {k: v for k, v in values.items() if k not in families.CODE_KEYS}
            path.write_text(
                json.dumps(kept, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
            )
