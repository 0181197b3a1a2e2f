"""CONTRACT: what a job is asked to do. Standard library only.

A job is a `JobSpec`: the language, the base model, the data files with their hashes and
an ordered list of stage settings. Each stage's settings are one frozen dataclass in
`training/settings/`; every field carries default, label, help, unit and range, and forms,
command line and API are made from them. `JobSpec.from_json` refuses what is out of range
and names the field.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from training.errors import SpecInvalid
from training.settings.align_preferences import AlignPreferences
from training.settings.continue_pretraining import ContinuePretraining
from training.settings.distil_embeddings import DistilEmbeddings
from training.settings.evaluate import Evaluate
from training.settings.example_lengths import (
    ANSWERED_CHARACTERS,
    SHOWN_CHARACTERS,
    SHOWN_TO_NAME,
    SHOWN_TO_SUM_UP,
    TEXT_PIECE_CHARACTERS,
    TITLE_CHARACTERS,
)
from training.settings.extend_vocabulary import ExtendVocabulary
from training.settings.forward_pass import (
    FLOAT,
    KEPT_AT_ONCE,
    LOGITS_AT_ONCE,
    Shape,
    bytes_of_a_layer,
    bytes_of_a_token,
    shape_of,
    tokens_at_once,
    wants_checkpointing,
)
from training.settings.merge import Merge
from training.settings.merge_models import MergeModels
from training.settings.needs import named, service_is_named, uses_service
from training.settings.order import check_order
from training.settings.prepare import Prepare
from training.settings.setting import StageSettings, build, setting, unfit, unknown
from training.settings.several_processes import (
    batch_of,
    in_parts,
    most_processes,
    share_of_one,
)
from training.settings.tune_instructions import STEPS_TO_ANSWER, TuneInstructions

__all__ = [
    "ANSWERED_CHARACTERS",
    "FLOAT",
    "KEPT_AT_ONCE",
    "LOGITS_AT_ONCE",
    "SHOWN_CHARACTERS",
    "SHOWN_TO_NAME",
    "SHOWN_TO_SUM_UP",
    "STAGES",
    "STEPS_TO_ANSWER",
    "TEXT_PIECE_CHARACTERS",
    "TITLE_CHARACTERS",
    "AlignPreferences",
    "ContinuePretraining",
    "Corpus",
    "Data",
    "Device",
    "DistilEmbeddings",
    "Evaluate",
    "ExtendVocabulary",
    "JobSpec",
    "Merge",
    "MergeModels",
    "Prepare",
    "Resources",
    "Shape",
    "StageSettings",
    "TuneInstructions",
    "batch_of",
    "build",
    "bytes_of_a_layer",
    "bytes_of_a_token",
    "check_order",
    "in_parts",
    "most_processes",
    "named",
    "service_is_named",
    "shape_of",
    "share_of_one",
    "stage_from_json",
    "tokens_at_once",
    "unfit",
    "unknown",
    "uses_service",
    "wants_checkpointing",
]

FORMAT = 1

STAGES: dict[str, type[StageSettings]] = {
    settings.stage: settings
    for settings in (
        Prepare,
        ExtendVocabulary,
        DistilEmbeddings,
        ContinuePretraining,
        TuneInstructions,
        AlignPreferences,
        MergeModels,
        Merge,
        Evaluate,
    )
}


@dataclass(frozen=True)
class Corpus:
    """One file of rows (JSON lines) and what it holds.

    Rows by kind: monolingual {"text"}, with "title" and "summary" where there are such;
    parallel {"source", "target"} in the order of `languages`; instructions {"messages":
    [{"role", "content"}]}; preferences {"messages", "chosen", "rejected"}.
    """

    path: str
    kind: str
    languages: tuple[str, ...]
    sha256: str = ""
    name: str = ""


@dataclass(frozen=True)
class Data:
    """What is learned from and what is protected, by role.

    `related` is plain text of other languages that is learned beside the target;
    `dictionary` holds words or names and their translations (kind parallel).
    """

    target: tuple[Corpus, ...] = ()
    protected: tuple[Corpus, ...] = ()
    parallel: tuple[Corpus, ...] = ()
    instructions: tuple[Corpus, ...] = ()
    preferences: tuple[Corpus, ...] = ()
    related: tuple[Corpus, ...] = ()
    dictionary: tuple[Corpus, ...] = ()


@dataclass(frozen=True)
class Device:
    """Where the run computes."""

    kind: str = setting(
        "auto",
        "Device",
        "auto: a GPU where there is one.",
        choices=("auto", "cpu", "cuda"),
    )
    threads: int = setting(
        0,
        "CPU threads",
        "0: all cores. On a busy machine fewer can be faster.",
        low=0,
        high=1_024,
    )
    processes: int = setting(
        0,
        "Processes",
        "How many processes share continued pretraining, instruction tuning and "
        "preference tuning, each on a GPU of its own; the step they take is that of "
        "one. 0: as many as the job is shown GPUs, one on a CPU. All other stages run "
        "in one process.",
        low=0,
        high=1_024,
    )
    sharing: str = setting(
        "auto",
        "Sharing among processes",
        "replicated: every process holds the model. sharded: every process holds a part "
        "of each weight (FSDP2), for models that do not fit on one GPU. auto: sharded "
        "where weights, gradients and the optimizer's state would fill more than half "
        "of a GPU. It is for continued pretraining: in tuning every process holds the "
        "model.",
        choices=("auto", "replicated", "sharded"),
    )


@dataclass(frozen=True)
class Resources:
    """What some methods need beside base and data: folders and files, empty where absent.

    `instruct` is the base's instruction-tuned sibling, `donor` a model whose tokenizer
    already has the language, `models` are merged with the job's own. The vectors are
    text files in word2vec's format, one word a line.
    """

    instruct: str = ""
    donor: str = ""
    models: tuple[str, ...] = ()
    target_vectors: str = ""
    base_vectors: str = ""


@dataclass(frozen=True)
class JobSpec:
    """A whole job. `base` is a folder; `prompts` are answered at every evaluation."""

    job: str
    language: str
    base: str
    data: Data
    stages: tuple[StageSettings, ...]
    protected_language: str = "en"
    base_name: str = ""
    prompts: tuple[str, ...] = ()
    seed: int = 1
    device: Device = dataclasses.field(default_factory=Device)
    resources: Resources = dataclasses.field(default_factory=Resources)
    format: int = FORMAT

    def as_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back to an equal spec."""
        plain = dataclasses.asdict(self)
        plain["stages"] = [
            {"stage": s.stage, **dataclasses.asdict(s)} for s in self.stages
        ]
        return json.loads(json.dumps(plain))

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> JobSpec:
        """Read a spec; raises SpecInvalid naming the field that is wrong."""
        if plain.get("format", FORMAT) != FORMAT:
            raise SpecInvalid("format", f"The job's format must be {FORMAT}.")
        known = {field.name for field in dataclasses.fields(cls)}
        for name in plain:
            if name not in known:
                raise SpecInvalid(name, f"“{name}” is not part of a job.")
        for name in ("job", "language", "base", "data", "stages"):
            if name not in plain:
                raise SpecInvalid(name, f"“{name}” is missing in the job.")
        values = dict(plain)
        values["data"] = _data(plain["data"])
        values["stages"] = tuple(stage_from_json(stage) for stage in plain["stages"])
        values["prompts"] = tuple(plain.get("prompts", ()))
        values["resources"] = _resources(plain.get("resources", {}))
        values["device"] = build(Device, "device", plain.get("device", {}))
        return cls(**values)


def stage_from_json(plain: dict[str, Any]) -> StageSettings:
    """Settings of one stage from {"stage": name, setting: value...}."""
    values = dict(plain)
    name = values.pop("stage", None)
    if name not in STAGES:
        known = ", ".join(STAGES)
        raise SpecInvalid("stage", f"There is no stage “{name}”; there are {known}.")
    return build(STAGES[name], name, values)


def _resources(plain: dict[str, Any]) -> Resources:
    known = {field.name for field in dataclasses.fields(Resources)}
    for name in plain:
        if name not in known:
            raise SpecInvalid(f"resources.{name}", f"“{name}” is not a resource.")
    return Resources(**{**plain, "models": tuple(plain.get("models", ()))})


def _data(plain: dict[str, Any]) -> Data:
    roles = {}
    for role, corpora in plain.items():
        if role not in {field.name for field in dataclasses.fields(Data)}:
            raise SpecInvalid(f"data.{role}", f"“{role}” is not a role of a corpus.")
        roles[role] = tuple(
            Corpus(**{**corpus, "languages": tuple(corpus["languages"])})
            for corpus in corpora
        )
    return Data(**roles)
