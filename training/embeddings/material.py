"""A request from what a stage is given: texts, pairs, vectors, donor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from training import families
from training.data.pairs import read_pairs, side_of
from training.data.rows import read_rows, read_texts
from training.embeddings.request import Request
from training.errors import InputMissing
from training.spec import ExtendVocabulary, JobSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from training.run import StageContext
    from training.vocabulary.extension import NewToken


def request(
    context: StageContext,
    tokens: Sequence[NewToken],
    new: Tokenizer,
    kept: Mapping[int, int] | None = None,
) -> Request:
    """What the settings and the data of the job say; raises InputMissing for a path."""
    settings, spec, prepared = context.settings, context.spec, context.prepared
    assert isinstance(settings, ExtendVocabulary)
    resources = spec.resources
    return Request(
        tokens=tokens,
        method=settings.initialisation,
        seed=spec.seed,
        multiple=settings.round_rows_to,
        kept=kept,
        old=families.load_tokenizer(context.model).backend_tokenizer,
        new=new,
        target_texts=partial(_texts, prepared / "target-train.jsonl"),
        base_texts=partial(_texts, prepared / "protected-train.jsonl"),
        pairs=partial(_pairs, spec, prepared / "parallel-train.jsonl"),
        dictionary=partial(_pairs, spec, prepared / "dictionary-train.jsonl"),
        target_vectors=_path(resources.target_vectors),
        base_vectors=_path(resources.base_vectors),
        donor=_path(resources.donor),
        rank=settings.initialisation_rank,
    )


def _path(name: str) -> Path | None:
    if not name:
        return None
    if not Path(name).exists():
        raise InputMissing(f"{name} is not there.")
    return Path(name)


def _texts(path: Path) -> Iterable[str]:
    return read_texts(path) if path.is_file() else ()


def _pairs(spec: JobSpec, path: Path) -> Iterator[tuple[str, str]]:
    """(other language, target) of the rows that have a side in the job's language."""
    for pair in read_pairs(read_rows(path)) if path.is_file() else ():
        here = side_of(pair.languages, spec.language)
        if here is not None:
            yield pair.texts[1 - here], pair.texts[here]
