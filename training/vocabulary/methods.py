"""The methods of changing a tokenizer, by their names in the settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator

from tokenizers import Tokenizer

from training.errors import BaseUnsuitable
from training.spec import ExtendVocabulary
from training.vocabulary import append, extension, prune, replace
from training.vocabulary.change import Change, Texts
from training.vocabulary.sampling import Labelled, labelled

# What a tokenizer that is no BPE can still be given.
FOR_UNIGRAM = ("append", "keep")


def _nothing() -> Iterable[str]:
    return ()


def change(
    backend: Tokenizer,
    texts: Callable[[], Iterable[Labelled]],
    settings: ExtendVocabulary,
    *,
    protected: Texts = _nothing,
    fixed: Collection[int] = (),
    change_pattern: bool = True,
    held_out: Iterable[Labelled] = (),
) -> Change:
    """The tokenizer after `settings.method`, from the target's and the protected texts.

    A text may come as (language, text). `fixed` are ids that mean something beyond text,
    whatever the tokenizer says. `change_pattern`: whether a pre-tokenizer that tears
    marks off may be changed. `held_out`: what a size is chosen by. Raises
    BaseUnsuitable where the method does not work with this kind of tokenizer, and what
    the method itself raises.
    """
    kind = json.loads(backend.to_str())["model"]["type"]
    if kind == "Unigram" and settings.method not in FOR_UNIGRAM:
        raise BaseUnsuitable(
            f"The base model's tokenizer is of the kind Unigram, and the method "
            f"{settings.method} works with BPE tokenizers only.",
            hint="Choose the method append, which works with both, or keep.",
        )

    def plain() -> Iterator[str]:
        return (text for _, text in labelled(texts()))

    if settings.method == "append":
        return append.append(backend, plain, settings, change_pattern=change_pattern)
    if settings.method == "replace":
        return replace.replace(
            backend, plain, protected, settings, fixed, change_pattern=change_pattern
        )
    if settings.method == "prune":
        return prune.prune(backend, plain, protected, settings, fixed)
    extended = extension.extend(
        backend, texts, settings, change_pattern=change_pattern, held_out=held_out
    )
    return Change(
        extended.backend,
        extended.tokens,
        marks=extended.marks,
        marks_cut=extended.marks_cut,
        figures=extended.figures,
    )
