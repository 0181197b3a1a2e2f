"""A job as an ordered list of stages, each finished once and never repeated.

    RUN_DIR/events.jsonl               what happened (training/events.py)
    RUN_DIR/stages/NN-name/            a finished stage: outputs and manifest.json
    RUN_DIR/stages/NN-name.part/       the stage being written; removed when begun again
    RUN_DIR/work/NN-name/              checkpoints and plan, kept until it is finished
    RUN_DIR/report.json                written by `evaluate`

A stage reads what the one before it wrote; a job may name a stage more than once. Whoever
runs the same spec in the same folder again goes on where the last attempt ended. No torch
is imported here.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import time
import traceback
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from training import freed_memory, manifest
from training.data import romanise
from training.errors import (
    EXIT_FAILED,
    EXIT_STOPPED,
    EXIT_SUCCEEDED,
    EXIT_UNEXPECTED,
    DiskFull,
    InputMissing,
    SpecInvalid,
    Stopped,
    TrainingError,
)
from training.events import EventWriter
from training.settings import several_processes
from training.settings.needs import refuse_absent
from training.spec import Corpus, JobSpec, StageSettings, check_order
from training.stages import stage_function

log = logging.getLogger(__name__)

NO_SPACE = 28  # errno.ENOSPC
LEAST_FREE_BYTES = 2**20
BEGAN = "began"  # in a stage's work folder: when its first attempt did, Unix seconds


class StopFlag:
    """Set by SIGTERM or SIGINT; stages look at it at every step boundary."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Take over SIGTERM and SIGINT of this process."""
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, self._request)

    def _request(self, *_: object) -> None:
        self.requested = True

    def raise_if_requested(self) -> None:
        """Raise Stopped; call it where the state is on disk."""
        if self.requested:
            raise Stopped


@dataclass
class StageContext:
    """All that a stage may use.

    `folder` is where its outputs go (temporary until it returns), `work` is kept across
    attempts, `model` is the Hugging Face folder to start from, `adapter` a LoRA folder
    over `model` where the stage before left one, `finished` the folders and `figures`
    the figures of the finished stages by name, of the newest where a name comes twice.
    `runs` lists every finished stage in order: {"index", "stage", "seconds"}.
    `settings` are the spec's, with the minutes that earlier stages left over.
    """

    spec: JobSpec
    settings: StageSettings
    run_dir: Path
    folder: Path
    work: Path
    model: Path
    adapter: Path | None
    events: EventWriter
    stop: StopFlag
    finished: dict[str, Path] = field(default_factory=dict)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of the finished stages by name, summed where a name comes twice."""
        summed: dict[str, float] = {}
        for run in self.runs:
            name = run["stage"]
            summed[name] = round(summed.get(name, 0.0) + run["seconds"], 2)
        return summed

    @property
    def prepared(self) -> Path:
        """The folder of split texts that `prepare` wrote."""
        return self.finished["prepare"]


def run_job(spec: JobSpec, run_dir: Path, stop: StopFlag | None = None) -> int:
    """Run every stage that is not finished; returns an exit code of training.errors.

    Never raises: what went wrong stands in the event file.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    events = EventWriter(run_dir / "events.jsonl")
    stop = stop or StopFlag()
    started = time.monotonic()
    stage = ""
    try:
        check_inputs(spec)
        names = [settings.stage for settings in spec.stages]
        events.write("job_started", stages=names)
        finished: dict[str, Path] = {}
        figures: dict[str, dict[str, Any]] = {}
        runs: list[dict[str, Any]] = []
        spare = 0.0
        for index, settings in enumerate(spec.stages):
            stage, events.index = settings.stage, index
            stop.raise_if_requested()
            given = with_spare(settings, spare)
            context = _context(
                spec, given, index, run_dir, events, stop, finished, figures, runs
            )
            spare = _run_stage(context, index, spare)
    except Stopped:
        events.write("stopped", stage=stage, step=None)
        return EXIT_STOPPED
    except TrainingError as failure:
        events.write("failed", stage=stage, **failure.as_dict())
        return EXIT_FAILED
    # The door: whatever it was, say so and keep the trace.
    except Exception as failure:  # noqa: BLE001
        if _disk_is_full(failure, run_dir):
            full = DiskFull(f"The disk became full in the stage {stage}.")
            events.write("failed", stage=stage, **full.as_dict())
            return EXIT_FAILED
        log.error("unexpected failure in %s\n%s", stage, traceback.format_exc())
        events.write(
            "failed",
            stage=stage,
            code="unexpected",
            sentence=f"Something unexpected happened in the stage {stage}: {failure}",
            hint="What was finished is kept. Retry once: a machine that was busy or "
            "restarted may have been the cause. If it ends so again, a retry will not "
            "help; show the log to whoever runs this site.",
            retryable=False,
        )
        return EXIT_UNEXPECTED
    total = round(sum(run["seconds"] for run in runs), 2)
    events.write("succeeded", report="report.json", seconds=total)
    log.info("finished in %.1f s", time.monotonic() - started)
    return EXIT_SUCCEEDED


def _disk_is_full(failure: Exception, run_dir: Path) -> bool:
    """Whether a failure is a full disk. safetensors says so in words of its own, torch
    not at all: it leaves a half-written file and no space."""
    if getattr(failure, "errno", None) == NO_SPACE or "os error 28" in str(failure):
        return True
    return shutil.disk_usage(run_dir).free < LEAST_FREE_BYTES


def check_inputs(spec: JobSpec) -> None:
    """Refuse a spec whose stages cannot follow each other, that lacks what its methods
    need or that several processes cannot do, or whose files are missing or have other
    contents than stated.
    """
    check_order(spec.stages)
    refuse_absent(spec)
    several_processes.check(spec)
    if not Path(spec.base).is_dir():
        raise InputMissing(f"The base model's folder {spec.base} is not there.")
    corpora: tuple[Corpus, ...] = sum(vars(spec.data).values(), ())
    for role in ("parallel", "dictionary"):
        refuse_unnamed_sides(role, getattr(spec.data, role))
    for corpus in corpora:
        path = Path(corpus.path)
        if not path.is_file():
            raise InputMissing(f"The dataset file {corpus.name or path} is not there.")
        if corpus.sha256 and manifest.file_sha256(path) != corpus.sha256:
            raise InputMissing(
                f"The dataset file {corpus.name or path} has changed since the launch."
            )
    given = spec.resources
    for name in (given.instruct, given.donor, *given.models):
        if name and not Path(name).is_dir():
            raise InputMissing(f"The model folder {name} is not there.")
    for name in (given.target_vectors, given.base_vectors):
        if name and not Path(name).is_file():
            raise InputMissing(f"The file of word vectors {name} is not there.")


def refuse_unnamed_sides(role: str, corpora: tuple[Corpus, ...]) -> None:
    """Raise SpecInvalid where a corpus of pairs does not name the language of both."""
    for corpus in corpora:
        if len(corpus.languages) != 2:
            raise SpecInvalid(
                f"data.{role}",
                f"{corpus.name or corpus.path} ({role}) must name two languages, of the "
                f"first and the second side; it names {len(corpus.languages)}. Say which "
                "they are, then launch again.",
            )


def stage_folder(run_dir: Path, index: int, name: str) -> Path:
    """Where a finished stage stands."""
    return run_dir / "stages" / f"{index:02d}-{name}"


def _context(
    spec: JobSpec,
    settings: StageSettings,
    index: int,
    run_dir: Path,
    events: EventWriter,
    stop: StopFlag,
    finished: dict[str, Path],
    figures: dict[str, dict[str, Any]],
    runs: list[dict[str, Any]],
) -> StageContext:
    final = stage_folder(run_dir, index, settings.stage)
    model, adapter = Path(spec.base), None
    for folder in finished.values():
        if (folder / "model").is_dir():
            model, adapter = folder / "model", None
        if (folder / "adapter").is_dir() and not (folder / "model").is_dir():
            adapter = folder / "adapter"
    return StageContext(
        spec=spec,
        settings=settings,
        run_dir=run_dir,
        folder=final.with_name(final.name + ".part"),
        work=run_dir / "work" / final.name,
        model=model,
        adapter=adapter,
        events=events,
        stop=stop,
        finished=finished,
        figures=figures,
        runs=runs,
    )


def with_spare(settings: StageSettings, spare: float) -> StageSettings:
    """A stage's settings with the minutes that the stages before it were given and did
    not use, as where few texts were read often enough before their time was up."""
    if not _is_timed(settings):
        return settings
    return replace(settings, minutes=settings.minutes + spare)


def _is_timed(settings: StageSettings) -> bool:
    """Whether minutes bound a stage: it has the setting, and no number of steps."""
    return hasattr(settings, "minutes") and not getattr(settings, "steps", 0)


def _spare(context: StageContext, spare: float) -> float:
    """Minutes left over after a stage. Counted from its first attempt, pauses too, so
    that a job that was taken up again never takes longer for it."""
    if not _is_timed(context.settings):
        return spare
    used = (time.time() - float((context.work / BEGAN).read_text())) / 60
    return max(0.0, round(context.settings.minutes - used, 3))


def tell_idle(settings: StageSettings, events: EventWriter) -> None:
    """Name the settings that were changed and do nothing, so that nobody believes that
    they made a difference."""
    for setting, why in settings.idle():
        label = setting.metadata["label"]
        events.note(f"“{label}” ({setting.name}) has no effect here: {why}.")


def carry_romanisation(context: StageContext) -> None:
    """The table that leads back from Latin letters goes with every model that a stage
    writes: who loads it reads there that it is to be asked in Latin letters."""
    model, table = context.folder / "model", Path()
    if "prepare" in context.finished:
        table = context.prepared / romanise.FILE
    if model.is_dir() and table.is_file():
        # What lies there may be a link into the folder of another stage.
        (model / romanise.FILE).unlink(missing_ok=True)
        shutil.copyfile(table, model / romanise.FILE)


def refuse_other_settings(spec: JobSpec, index: int, final: Path) -> None:
    """Raise SpecInvalid where a finished stage was run with other settings or another
    seed: its figures would stand under the new ones. Settings that a former version did
    not have are not compared."""
    record = manifest.read(final) or {}
    now = json.loads(json.dumps(asdict(spec.stages[index])))
    then = record.get("settings", {})
    changed = [name for name, value in then.items() if now.get(name, value) != value]
    if record.get("seed", spec.seed) != spec.seed:
        changed.append("seed")
    if changed:
        raise SpecInvalid(
            f"{spec.stages[index].stage}.{changed[0]}",
            f"{spec.stages[index].stage} was finished in the run folder with another "
            f"{changed[0]}; give the changed job a folder of its own.",
        )


def _run_stage(context: StageContext, index: int, spare: float) -> float:
    """Run one stage into its folder, or read back the figures of a finished one; takes
    and returns the minutes that are left over."""
    name = context.settings.stage
    final = stage_folder(context.run_dir, index, name)
    if manifest.is_whole(final):
        refuse_other_settings(context.spec, index, final)
    else:
        shutil.rmtree(context.folder, ignore_errors=True)
        context.folder.mkdir(parents=True)
        context.work.mkdir(parents=True, exist_ok=True)
        if not (context.work / BEGAN).exists():
            (context.work / BEGAN).write_text(str(time.time()))
        context.events.write("stage_started", stage=name, index=index)
        tell_idle(context.spec.stages[index], context.events)
        began = time.monotonic()
        figures = stage_function(name)(context)
        carry_romanisation(context)
        manifest.seal(
            context.folder,
            stage=name,
            settings=asdict(context.spec.stages[index]),
            seed=context.spec.seed,
            seconds=round(time.monotonic() - began, 2),
            spare_minutes=_spare(context, spare),
            figures=figures,
        )
        manifest.publish(context.folder, final)
    freed_memory.give_back()
    # Checkpoints of a finished stage are many times its model and of no more use.
    shutil.rmtree(context.work, ignore_errors=True)
    record = manifest.read(final)
    assert record is not None
    context.finished.pop(name, None)  # the order is that of the newest of each name
    context.finished[name] = final
    context.figures[name] = record["figures"]
    context.runs.append({"index": index, "stage": name, "seconds": record["seconds"]})
    context.events.write(
        "stage_finished",
        stage=name,
        index=index,
        seconds=record["seconds"],
        figures=record["figures"],
    )
    return record.get("spare_minutes", 0.0)
