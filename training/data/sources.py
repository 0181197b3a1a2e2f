"""The sources of the training text: what `prepare` divided, made ready for the packer.

Each role and language is one source, always in the same order, so that every arm of a
comparison draws the same passages from the same seed. What has to be written for it
(translations as documents, text with words inserted) lies in WORK/mix.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import manifest
from training.data import dictionary, documents, mixture
from training.data.mixture import Shares, Source
from training.data.packing import Packer
from training.data.rows import read_rows, write_rows
from training.data.tokens import TokenFile, fingerprint, start_id, tokenise
from training.errors import InputMissing, MaterialMissing
from training.families import end_of_text_id
from training.spec import ContinuePretraining

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# A role's rows in the folder of `prepare`.
FILES = {
    "target": "target",
    "related": "related",
    "protected": "protected",
    "parallel": "parallel",
    "interlinear": "parallel",
    "instructions": "instructions",
    "dictionary": "dictionary",
}
# Settings that change what is written, not only how much of it is read.
WRITING = ("code_switching", "entity_insertion", "entity_marks", "instruction_format")
CHARACTERS_PER_TOKEN = 3  # of an interlinear document that fills about a block


@dataclass(frozen=True)
class Mix:
    """The text of a run: what `prepare` left in `prepared`, by the settings' shares.

    `language` is the target's: of rows that name none.
    """

    settings: ContinuePretraining
    prepared: Path
    work: Path
    language: str
    seed: int

    def packer(
        self,
        tokenizer: PreTrainedTokenizerFast,
        block_tokens: int,
        say: Callable[[str], None],
    ) -> Packer:
        """The training text as blocks; `say` is told of roles that have a share and no
        text. Raises InputMissing where a part of the run would have nothing to read."""
        settings = self.settings
        files: list[TokenFile] = []
        sources: list[Source] = []
        for role in mixture.ROLES:
            if role not in self.roles():
                continue
            found = self.tokens(role, tokenizer, block_tokens)
            for name in sorted(found.languages) if found else ():
                file = found.of(name)
                files.append(file)
                sources.append(Source(role, name or self.language, file.total_bytes))
        stages = self.stages(sources)
        self._check(sources, stages, say)
        return Packer(
            sources=files,
            shares=stages[0][1],
            seed=self.seed,
            block_tokens=block_tokens,
            batch_blocks=settings.batch_blocks,
            start=start_id(tokenizer),
            end=end_of_text_id(tokenizer),
            stages=stages[1:],
            targets=sum(source.role == "target" for source in sources),
            cycle=settings.bucket_cycle if settings.packing == "bucketed" else 0,
        )

    def stages(self, sources: list[Source]) -> list[tuple[float, Shares]]:
        """(progress, share of each source from there on); the first begins at 0."""
        settings = self.settings
        more: dict[str, Any] = {
            "exponent": settings.sampling_exponent,
            "target_share": settings.target_share,
        }
        if settings.curriculum == "staged":
            return [
                (start, mixture.shares_of(sources, roles, **more))
                for start, roles in mixture.read_stages(settings.mix_stages)
            ]
        roles = role_shares(settings)
        mixed = mixture.shares_of(sources, roles, **more)
        large = mixture.high_resource(sources)
        if settings.curriculum != "high_resource_first" or not large:
            return [(0.0, mixed)]
        first = mixture.shares_of(sources, roles, only=large, **more)
        return [(0.0, first), (settings.curriculum_start, mixed)]

    def roles(self) -> set[str]:
        """Roles that have a share at some time, with target and protected always, so
        that these two keep their place in the order."""
        settings = self.settings
        wanted: set[str] = {"target", "protected"}
        if settings.curriculum == "staged":
            for _, shares in mixture.read_stages(settings.mix_stages):
                wanted |= {role for role, share in shares.items() if share > 0}
        else:
            wanted |= {r for r, share in role_shares(settings).items() if share > 0}
        if mixture.TEXT in wanted:
            wanted |= {"related"}
        return wanted

    def identity(self) -> dict[str, str]:
        """Hashes of every file that the text is made from, by role."""
        names = [*sorted(self.roles() - {mixture.TEXT})]
        if self.settings.uses_dictionary:
            names.append("dictionary")
        paths = {name: self._rows(name) for name in names}
        return {
            f"{name} text": manifest.file_sha256(path)
            for name, path in paths.items()
            if path.is_file()
        }

    def tokens(
        self, role: str, tokenizer: PreTrainedTokenizerFast, block_tokens: int
    ) -> TokenFile | None:
        """The ids of a role, of all its languages; None where there is no such text."""
        path = self._rows(role)
        if not path.is_file():
            return None
        made = self._made(role, path, tokenizer, block_tokens)
        folder = self.work / f"{role}-ids"
        learned = role in ("target", "related")
        return tokenise(
            tokenizer,
            made,
            folder,
            block_tokens=block_tokens,
            dropout=self.settings.bpe_dropout if learned else 0.0,
            seed=self.seed,
        )

    def _rows(self, role: str) -> Path:
        return self.prepared / f"{FILES[role]}-train.jsonl"

    def _made(
        self,
        role: str,
        path: Path,
        tokenizer: PreTrainedTokenizerFast,
        block_tokens: int,
    ) -> Path:
        """The rows to read: as they were prepared, or rewritten into WORK/mix."""
        settings = self.settings
        if role in ("related", "protected"):
            return path
        if role == "target" and not settings.uses_dictionary:
            return path
        if role == "target":
            rows = self._with_words(path)
        elif role == "parallel":
            rows = documents.parallel_documents(read_rows(path))
        elif role == "interlinear":
            characters = block_tokens * CHARACTERS_PER_TOKEN
            rows = documents.interlinear_documents(
                read_rows(path), characters=characters, seed=self.seed
            )
        else:
            chat = settings.instruction_format == "chat" and tokenizer.chat_template
            rows = documents.instruction_documents(
                read_rows(path), tokenizer if chat else None
            )
        return self._keep(role, rows, path, tokenizer, block_tokens)

    def _keep(
        self,
        role: str,
        rows: Iterable[dict[str, Any]],
        path: Path,
        tokenizer: PreTrainedTokenizerFast,
        block_tokens: int,
    ) -> Path:
        """Write rows once; an attempt that goes on with the same settings finds them."""
        folder = self.work / "mix" / role
        words = self._rows("dictionary")
        facts = {
            "settings": {name: getattr(self.settings, name) for name in WRITING},
            "seed": self.seed,
            "language": self.language,
            "block_tokens": block_tokens,
            "dictionary": manifest.file_sha256(words) if words.is_file() else "",
            "rows": manifest.file_sha256(path),
            "tokenizer": fingerprint(tokenizer),
            "template": str(tokenizer.chat_template),
        }
        stored = manifest.read(folder) or {}
        same = all(stored.get(name) == value for name, value in facts.items())
        if not (same and manifest.is_whole(folder)):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_rows(folder / "rows.jsonl", rows)
            manifest.seal(folder, **facts)
        return folder / "rows.jsonl"

    def _with_words(self, path: Path) -> Iterator[dict[str, Any]]:
        """Target rows with words switched and translations inserted."""
        settings, seed = self.settings, self.seed
        words = self._rows("dictionary")
        rows = list(read_rows(words)) if words.is_file() else []
        known: dict[str, dictionary.Dictionary] = {}
        for row in read_rows(path):
            language = row.get("language") or self.language
            if language not in known:
                known[language] = dictionary.Dictionary.of(rows, language)
            text = row["text"]
            if settings.code_switching:
                share = settings.code_switching
                text = dictionary.switch(text, known[language], share=share, seed=seed)
            spans: list[tuple[int, int]] = []
            if settings.entity_insertion:
                text, spans = dictionary.insert(
                    text,
                    known[language],
                    share=settings.entity_insertion,
                    marks=settings.entity_marks,
                    seed=seed,
                )
            yield {**row, "text": text, "inserted": spans}

    def _words_found(self) -> bool:
        """Whether the text that is read differs anywhere from what was prepared."""
        made = self.work / "mix" / "target" / "rows.jsonl"
        if not made.is_file():
            return False
        rows = zip(read_rows(self._rows("target")), read_rows(made), strict=True)
        return any(one["text"] != other["text"] for one, other in rows)

    def _check(
        self,
        sources: list[Source],
        stages: list[tuple[float, Shares]],
        say: Callable[[str], None],
    ) -> None:
        if self.settings.uses_dictionary and not self._rows("dictionary").is_file():
            raise MaterialMissing(
                "Translations of words are to be put into the text, and the job has no "
                "dictionary.",
                hint="Add a dictionary, or set entity insertion and code-switching to 0.",
            )
        if self.settings.uses_dictionary and not self._words_found():
            say(
                "No word of the dictionary stands in the text, so that nothing was put "
                "into it. Check the dictionary's languages and how its words are written."
            )
        here = {source.role for source in sources if source.bytes}
        for role in sorted(
            self.roles() - here - {mixture.TEXT, "related", "protected"}
        ):
            say(f"There is no text of the kind “{role}”; its share goes to the others.")
        for start, shares in stages:
            if not any(
                s > 0 and source.bytes
                for s, source in zip(shares, sources, strict=True)
            ):
                raise InputMissing(
                    f"From {start:.0%} of the way on there is nothing to read.",
                    hint="Add the data that the mix asks for, or change the mix.",
                )


def role_shares(settings: ContinuePretraining) -> dict[str, float]:
    """What each role has of the whole; plain text has what the others leave."""
    roles = {
        "protected": settings.replay_share,
        "parallel": settings.parallel_share,
        "interlinear": settings.interlinear_share,
        "instructions": settings.instruction_share,
    }
    return {mixture.TEXT: max(0.0, 1 - sum(roles.values())), **roles}
