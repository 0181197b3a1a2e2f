"""Ways to begin with new tokens, side by side: one extension, equal training, one ruler.

Every arm starts from the same base, has the same new tokens, reads the same text in the
same order and is measured on the same held-out text. Three figures are kept apart:
bits per byte of the target, bits per byte of what is protected, characters per token.
The controls that keep the tokenizer read as many tokens, and as many bytes.

    OUT/comparison.json         what is compared on what
    OUT/untied/, acquainted/    the base that is compared on, where it was changed first
    OUT/prepared/               the text, divided
    OUT/extended/NAME/          the extended model with the rows of one initialisation
    OUT/results.jsonl           a line for each arm and seed that is done
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from training import compute
from training.data.passages import cut
from training.data.rows import read_texts, texts_of_file, write_rows
from training.errors import InputMissing, SpecInvalid, TooLittleText
from training.evaluation.evaluator import Evaluator
from training.evaluation.tokenizer_figures import tokenizer_figures
from training.events import EventWriter
from training.families import load_model, load_tokenizer
from training.manifest import file_sha256, write_json
from training.merging import is_tied, save_model
from training.run import StageContext, StopFlag
from training.settings.initialisations import INITIALISATIONS
from training.settings.needs import refuse_absent
from training.spec import (
    ContinuePretraining,
    Corpus,
    Data,
    Device,
    DistilEmbeddings,
    ExtendVocabulary,
    JobSpec,
    Prepare,
    Resources,
    StageSettings,
)
from training.stages import stage_function

KEEP = "keep"
# Taught rows begin as the mean of their pieces, as in the paper.
TAUGHT_FROM = "mean"
OBJECTIVES = {"distil": "distil", "next_token_rows": "next_token"}
METHODS = (*INITIALISATIONS, *OBJECTIVES)
DEFAULT_METHODS = ("mean", "mean_first", "global_mean", "random", *OBJECTIVES)
PREPARE = Prepare(
    held_out_characters=20_000, validation_characters=2_000, chunk_characters=200
)
DRAWN = ("random",)  # another draw for every seed
# 0 steps would mean "as many as there is time for".
AT_LEAST_ONE = (
    "steps",
    "block_tokens",
    "batch_blocks",
    "row_steps",
    "row_batch",
    "row_tokens",
    "new_tokens",
    "characters",
)
# A longer line (a file without line ends) is divided, so that it can be shortened.
LONGEST_LINE = 20_000


@dataclass(frozen=True)
class Arm:
    """What is compared: `rows` is the objective of the rows' own stage, if there is one.

    `budget` says what is equal to the other arms: "steps" of the training of the whole
    model; "total": also the tokens that taught rows read before; "bytes" of text.
    """

    method: str
    initialisation: str
    rows: str
    steps: int
    budget: str

    @property
    def name(self) -> str:
        """The method, and what is equal where it is not the steps."""
        return (
            self.method if self.budget == "steps" else f"{self.method} ({self.budget})"
        )


@dataclass(frozen=True)
class Comparison:
    """What is compared on what; texts are files of lines, or of {"text"} rows.

    `dictionary` and `parallel` (lines "protected TAB target") and `donor` (the folder of
    a model) are for the methods that need them.
    `row_steps` of `row_batch` snippets of `row_tokens` teach rows alone; `steps` of
    `batch_blocks` blocks of `block_tokens` train the whole model. `acquaint`: steps in
    which the base reads the second half of the text first, with its own tokenizer and
    `acquaint_replay` of them protected text.
    """

    base: Path
    text: Path
    protected: Path
    out: Path
    language: str
    protected_language: str = "en"
    methods: tuple[str, ...] = DEFAULT_METHODS
    seeds: tuple[int, ...] = (1, 2)
    steps: int = 150
    block_tokens: int = 128
    batch_blocks: int = 16
    learning_rate: float = 0.0
    replay_share: float = 0.0
    row_steps: int = 300
    row_batch: int = 16
    row_tokens: int = 64
    new_tokens: int = 1_000
    characters: int = 1_000_000
    untie: bool = False
    acquaint: int = 0
    acquaint_replay: float = 0.0
    threads: int = 0
    dictionary: Path | None = None
    parallel: Path | None = None
    donor: Path | None = None

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                known = ", ".join(METHODS)
                raise SpecInvalid(
                    "methods", f"There is no “{method}”; choose of {known}."
                )
        for name in AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise SpecInvalid(name, f"There must be at least one of {name}.")
        for path in (self.text, self.protected, self.dictionary, self.parallel):
            if path is not None and not path.is_file():
                raise InputMissing(f"The file {path} is not there.", hint="")
        for path in (self.base, self.donor):
            if path is not None and not path.is_dir():
                raise InputMissing(f"The folder {path} is not there.", hint="")

    def facts(self) -> dict[str, Any]:
        """What rows of one file of results must agree in."""
        plain = {name: value for name, value in vars(self).items()}
        for name in ("out", "seeds", "methods", "threads"):
            del plain[name]
        for name, value in plain.items():
            if isinstance(value, Path):
                whole = file_sha256(value) if value.is_file() else value.resolve().name
                plain[name] = whole
        return plain


def arms(comparison: Comparison, tied: bool, ratio: float) -> Iterator[Arm]:
    """The arms, controls first; `ratio`: how many times fewer tokens the text has.

    On tied rows mean_first is mean, and is left out.
    """
    steps = comparison.steps
    rows = comparison.row_steps * comparison.row_batch * comparison.row_tokens
    taught = round(rows / (comparison.batch_blocks * comparison.block_tokens))
    yield Arm(KEEP, "", "", steps, "steps")
    yield Arm(KEEP, "", "", round(steps * ratio), "bytes")
    teaches = any(method in OBJECTIVES for method in comparison.methods)
    if teaches:
        yield Arm(KEEP, "", "", steps + taught, "total")
    for method in comparison.methods:
        if method in OBJECTIVES:
            yield Arm(method, TAUGHT_FROM, OBJECTIVES[method], steps, "steps")
        elif not (tied and method == "mean_first"):
            yield Arm(method, method, "", steps, "steps")
    if teaches:
        best = "mean" if tied else "mean_first"
        yield Arm(best, best, "", steps + taught, "total")


class Runner:
    """A comparison and its folder; what is there is not made again."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.out = comparison.out
        self.out.mkdir(parents=True, exist_ok=True)
        self._same_as_before()
        self.device = Device(kind="cpu", threads=comparison.threads)
        base = comparison.base
        if comparison.untie:
            base = self._once("untied", lambda into: untied_copy(base, into))
        self.job = self._job(base)
        for arm in arms(comparison, False, 1.0):
            if arm.initialisation:
                stages = (PREPARE, self._extending(arm.initialisation))
                refuse_absent(replace(self.job, stages=stages))
        # Nothing was refused: from here on the folder is this comparison's.
        write_json(self.out / "comparison.json", comparison.facts())
        if comparison.acquaint:
            base = self._once("acquainted", self._acquaint) / "model"
            self.job = replace(self.job, base=str(base))
        self.prepared = self._stage_once("prepared", PREPARE, base, {})
        self._refuse_unmeasurable()
        self.tied = is_tied(load_model(base))
        self.measured: dict[Path, dict[str, float]] = {}

    def run(self) -> Iterator[dict[str, Any]]:
        """The line of every arm and seed; those that are there come as they are."""
        done = {(row["arm"], row["seed"]): row for row in self.results()}
        found = list(arms(self.comparison, self.tied, self.ratio()))
        for seed in dict.fromkeys(self.comparison.seeds):
            made: dict[Arm, dict[str, Any]] = {}  # by what is done, budget aside
            for arm in found:
                row, does = done.get((arm.name, seed)), replace(arm, budget="")
                if row is None:
                    row = made.get(does) or self._run_arm(arm, seed)
                    row = row | {"arm": arm.name}
                    with (self.out / "results.jsonl").open("a") as file:
                        file.write(json.dumps(row) + "\n")
                made[does] = row
                yield row

    def results(self) -> list[dict[str, Any]]:
        """The lines that are there."""
        path = self.out / "results.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [json.loads(line) for line in lines]

    def ratio(self) -> float:
        """How many times fewer tokens the text has with the new ones."""
        held_out = list(read_texts(self.prepared / "target-held_out.jsonl"))
        old, new = (
            tokenizer_figures(load_tokenizer(folder), held_out)["characters_per_token"]
            for folder in (Path(self.job.base), self._extended("mean", 1) / "model")
        )
        return new / old

    def _run_arm(self, arm: Arm, seed: int) -> dict[str, Any]:
        began = time.monotonic()
        finished = {"prepare": self.prepared}
        model = Path(self.job.base)
        if arm.initialisation:
            finished["extend_vocabulary"] = self._extended(arm.initialisation, seed)
            model = finished["extend_vocabulary"] / "model"
        moments = {"start": self._measure(model)}
        given = self.comparison
        with tempfile.TemporaryDirectory(dir=self.out) as place:
            if arm.rows:
                settings = DistilEmbeddings(
                    objective=arm.rows,
                    steps=given.row_steps,
                    batch_snippets=given.row_batch,
                    snippet_tokens=given.row_tokens,
                    evaluations=1,
                )
                folder = self._stage(
                    Path(place) / "rows", settings, model, finished, seed
                )
                model = folder / "model"
                moments["rows"] = self._measure(model)
            settings = self._reading(arm.steps, given.replay_share)
            folder = self._stage(Path(place) / "read", settings, model, finished, seed)
            moments["end"] = self._measure(folder / "model")
        return {
            "arm": arm.name,
            "seed": seed,
            "tied": self.tied,
            "row_steps": given.row_steps if arm.rows else 0,
            "steps": arm.steps,
            **moments,
            "seconds": round(time.monotonic() - began, 1),
        }

    def _refuse_unmeasurable(self) -> None:
        """Raise TooLittleText where no protected text is held out."""
        if not any(read_texts(self.prepared / "protected-held_out.jsonl")):
            raise TooLittleText(
                "The protected text is too short, or it is the text to learn from: "
                "nothing of it can be measured on.",
                hint="Give another text in the protected language, in another folder.",
            )

    def _measure(self, model: Path) -> dict[str, float]:
        """Held-out text: bits per byte by role, and characters of the target's token.

        What lies in OUT stays as it is and is measured once.
        """
        if model not in self.measured:
            self.measured = {
                kept: figures
                for kept, figures in self.measured.items()
                if kept.is_dir()
            }
            self.measured[model] = self._figures(model)
        return self.measured[model]

    def _figures(self, model: Path) -> dict[str, float]:
        compute.prepare_device(self.device)
        evaluator = Evaluator(
            load_model(model),
            load_tokenizer(model),
            self.job,
            self.prepared,
            "held_out",
        )
        figures = evaluator.everything()
        return {
            "target": round(figures["bits_per_byte"]["target"], 4),
            "protected": round(figures["bits_per_byte"]["protected"], 4),
            "characters_per_token": figures["tokenizer"]["characters_per_token"],
        }

    def _extended(self, method: str, seed: int) -> Path:
        """The folder of extend_vocabulary with the rows of a method."""
        drawn = method in DRAWN
        return self._stage_once(
            f"extended/{method}-{seed}" if drawn else f"extended/{method}",
            self._extending(method),
            Path(self.job.base),
            {"prepare": self.prepared},
            seed if drawn else 1,
        )

    def _extending(self, method: str) -> ExtendVocabulary:
        return ExtendVocabulary(
            new_tokens=self.comparison.new_tokens, initialisation=method
        )

    def _acquaint(self, into: Path) -> Path:
        """The base after it has read the other half of the text, tokenizer kept."""
        job = self.job
        self.job = self._job(Path(job.base), other_half=True)
        prepared = self._stage(into / "prepare", PREPARE, Path(job.base), {}, 1)
        given = self.comparison
        settings = self._reading(given.acquaint, given.acquaint_replay)
        finished = {"prepare": prepared}
        folder = self._stage(into / "read", settings, Path(job.base), finished, 1)
        self.job = job
        return folder

    def _reading(self, steps: int, replay_share: float) -> ContinuePretraining:
        given = self.comparison
        return ContinuePretraining(
            steps=steps,
            block_tokens=given.block_tokens,
            batch_blocks=given.batch_blocks,
            learning_rate=given.learning_rate,
            replay_share=replay_share,
            evaluations=1,
            precision="float32",
        )

    def _job(self, base: Path, *, other_half: bool = False) -> JobSpec:
        given = self.comparison
        half = (1 if other_half else 0) if given.acquaint else None
        name = "target-other" if other_half else "target"
        target = self._corpus(given.text, name, given.language, half)
        kept = self._corpus(
            given.protected, "protected", given.protected_language, None
        )
        return JobSpec(
            job="comparison",
            language=given.language,
            protected_language=given.protected_language,
            base=str(base),
            data=Data(
                target=(target,),
                protected=(kept,),
                dictionary=self._pairs(given.dictionary, "dictionary"),
                parallel=self._pairs(given.parallel, "parallel"),
            ),
            resources=Resources(donor=str(given.donor or "")),
            stages=(PREPARE, ContinuePretraining()),
            device=self.device,
        )

    def _corpus(self, path: Path, name: str, language: str, half: int | None) -> Corpus:
        """The first characters of a text as rows, or one half of them."""
        texts = texts_of_file(path)
        left, kept = self.comparison.characters, []
        for text in chain.from_iterable(cut(text, LONGEST_LINE) for text in texts):
            if left <= 0:
                break
            left -= len(text)
            kept.append(text)
        if half is not None:
            middle = len(kept) // 2
            kept = kept[middle:] if half else kept[:middle]
        into = self.out / f"{name}.jsonl"
        write_rows(into, ({"text": text} for text in kept if text.strip()))
        return Corpus(str(into), "monolingual", (language,))

    def _pairs(self, path: Path | None, name: str) -> tuple[Corpus, ...]:
        """Pairs of the protected language and the target, as rows."""
        if path is None:
            return ()
        lines = texts_of_file(path)
        pairs = (line.split("\t") for line in lines if line.count("\t") == 1)
        into = self.out / f"{name}.jsonl"
        write_rows(into, ({"source": one, "target": other} for one, other in pairs))
        languages = self.comparison.protected_language, self.comparison.language
        return (Corpus(str(into), "parallel", languages),)

    def _stage(
        self,
        place: Path,
        settings: StageSettings,
        model: Path,
        finished: dict[str, Path],
        seed: int,
    ) -> Path:
        """Run one stage outside of a job; the folder that it filled."""
        context = StageContext(
            spec=replace(self.job, seed=seed),
            settings=settings,
            run_dir=place,
            folder=place / "out",
            work=place / "work",
            model=model,
            adapter=None,
            events=EventWriter(place / "events.jsonl"),
            stop=StopFlag(),
            finished=finished,
        )
        context.folder.mkdir(parents=True)
        context.work.mkdir()
        stage_function(settings.stage)(context)
        return context.folder

    def _stage_once(
        self,
        name: str,
        settings: StageSettings,
        model: Path,
        finished: dict[str, Path],
        seed: int = 1,
    ) -> Path:
        def make(into: Path) -> Path:
            return self._stage(into / "stage", settings, model, finished, seed)

        return self._once(name, make)

    def _once(self, name: str, make: Callable[[Path], Path]) -> Path:
        """The folder OUT/name; `make` is given a place and returns the folder to keep."""
        final = self.out / name
        if not final.is_dir():
            final.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.out) as place:
                make(Path(place) / "made").rename(final)
        return final

    def _same_as_before(self) -> None:
        """Raise SpecInvalid where the folder holds another comparison."""
        path, facts = self.out / "comparison.json", self.comparison.facts()
        if path.is_file():
            stored = json.loads(path.read_text(encoding="utf-8"))
            for name, value in facts.items():
                if stored.get(name) != value:
                    raise SpecInvalid(
                        name,
                        f"The folder holds a comparison with another {name} "
                        f"({stored.get(name)!r}); use another folder.",
                    )


def untied_copy(base: Path, into: Path) -> Path:
    """The model of a folder with a head of its own that is a copy of the input rows.

    It computes the same; from then on the two learn apart. An untied one stays as it is.
    """
    model = load_model(base, dtype="auto")
    head = model.get_output_embeddings()
    if is_tied(model):
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
        model.config.get_text_config().tie_word_embeddings = False
        model.config.tie_word_embeddings = False
    save_model(model, load_tokenizer(base), into, base)
    return into
