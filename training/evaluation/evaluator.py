"""One way of measuring for the base, the curves and the report.

Reads the texts that `prepare` split, `{target,protected,related}-PART.jsonl`, and
measures any model on them: bits per byte by role and by language, tokenizer figures and
answers to the job's prompts. Related text is measured for the report, not for the curves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.data import romanise
from training.data.rows import read_rows, read_texts
from training.data.tokens import start_id
from training.evaluation.bits_per_byte import (
    Chunks,
    Likelihood,
    maximum_positions,
    measure,
    prepare_chunks,
)
from training.evaluation.samples import answer_prompts
from training.evaluation.tokenizer_figures import tokenizer_figures
from training.generate import Generator
from training.spec import Evaluate, JobSpec, Prepare, StageSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

ROLES = ("target", "protected")


class Evaluator:
    """A part ("validation" or "held_out") of the texts, cut for one model."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        spec: JobSpec,
        prepared: Path,
        part: str,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.spec = spec
        self.paths = {role: prepared / f"{role}-{part}.jsonl" for role in ROLES}
        # A model that learns from Latin letters is asked in them.
        romanised = (prepared / romanise.FILE).is_file()
        self.write = romanise.romanise if romanised else str
        self.related = prepared / f"related-{part}.jsonl"
        self.chunks = {
            role: self._chunks(read_texts(path)) for role, path in self.paths.items()
        }

    def bits_per_byte(self) -> dict[str, float | None]:
        """By role; None where there is no text."""
        return {
            role: round(measure(self.model, chunks).bits_per_byte, 6)
            if chunks.bytes
            else None
            for role, chunks in self.chunks.items()
        }

    def point(self) -> dict[str, Any]:
        """A point of the curves: {"target_bits_per_byte", "protected_bits_per_byte",
        "samples"}."""
        bits = {f"{role}_bits_per_byte": v for role, v in self.bits_per_byte().items()}
        return {**bits, "samples": self.samples()}

    def samples(self) -> list[dict[str, str]]:
        """[{"prompt", ["asked"], "answer"}] for the job's prompts."""
        settings = _settings(self.spec, Evaluate)
        return answer_prompts(
            Generator(self.model, self.tokenizer),
            self.spec.prompts,
            tokens=settings.sample_tokens,
            temperature=settings.temperature,
            seed=self.spec.seed,
            write=self.write,
        )

    def by_language(self) -> dict[tuple[str, str], Likelihood]:
        """By role and language; a row that names none is of the role's own language."""
        own = {
            "target": self.spec.language,
            "protected": self.spec.protected_language,
        }
        paths = {**self.paths, "related": self.related}
        texts: dict[tuple[str, str], list[str]] = {}
        for role, path in paths.items():
            for row in read_rows(path) if path.is_file() else ():
                language = row.get("language") or own.get(role, "")
                texts.setdefault((role, language), []).append(row["text"])
        return {
            place: measure(self.model, self._chunks(found))
            for place, found in texts.items()
        }

    def everything(self) -> dict[str, Any]:
        """{"tokenizer", "bits_per_byte", "bits_per_byte_by_language", "samples"}: what
        the report compares."""
        found = self.by_language()
        roles = {
            role: [v for (r, _), v in found.items() if r == role] for role in ROLES
        }
        languages: dict[str, list[Likelihood]] = {}
        for (_, language), likelihood in found.items():
            languages.setdefault(language, []).append(likelihood)
        return {
            "tokenizer": tokenizer_figures(
                self.tokenizer, read_texts(self.paths["target"])
            ),
            "bits_per_byte": {role: _together(roles[role]) for role in ROLES},
            "bits_per_byte_by_language": {
                language: _together(parts) for language, parts in languages.items()
            },
            "samples": self.samples(),
        }

    def _chunks(self, texts: Iterable[str]) -> Chunks:
        return prepare_chunks(
            self.tokenizer,
            texts,
            start=start_id(self.tokenizer),
            chunk_characters=_settings(self.spec, Prepare).chunk_characters,
            positions=maximum_positions(self.model),
        )


def _together(parts: Sequence[Likelihood]) -> float | None:
    """Bits per byte of several measurements as one; None where there is no text."""
    whole = Likelihood(
        sum(part.nats for part in parts),
        sum(part.tokens for part in parts),
        sum(part.bytes for part in parts),
    )
    return round(whole.bits_per_byte, 6) if whole.bytes else None


def _settings(spec: JobSpec, kind: type[StageSettings]) -> Any:
    """The job's settings of a stage, or its defaults."""
    for settings in spec.stages:
        if isinstance(settings, kind):
            return settings
    return kind()
