"""Mothertongue beside the tools people would use instead, in one run.

    python bench/peers.py BASE TEXT PROTECTED OUT_DIR --language kk --minutes 2
                          [--llamafactory ENV] [--axolotl ENV] [--rate 3e-3] [--arms ...]

Same base, same text, same protected text (a quarter of what is read, by bytes), same
machine, same wall clock from the command to the saved model, same peak learning rate,
batch and block. Every peer is an installation of its own (ENV is its virtual
environment). A peer's number of steps is set so that it ends with the clock: two short
first runs tell what starting costs and what a step costs. A run that missed the clock by
more than WITHIN is made again with the speed that it had, at most twice.

All models are then measured by the same code on the same held-out text: bits per byte
over 400-character chunks, all tokens counted. OUT_DIR/results.jsonl gets a line per arm,
with what else the machine did meanwhile (the share of its CPU time that went to other
processes, and that the host of a virtual machine took); arms that are there are not run
again, so that they can be measured in several calls. `--table` prints it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arms import append, read

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from training.data.rows import read_texts, write_rows  # noqa: E402
from training.run import run_job  # noqa: E402
from training.spec import (  # noqa: E402
    ContinuePretraining,
    Corpus,
    Data,
    ExtendVocabulary,
    JobSpec,
    Prepare,
)

REPLAY_SHARE = 0.25
BLOCK, BATCH = 256, 16
TRIAL_STEPS = 20
# Held back from each clock: the last step and saving must not run over.
SPARE_SECONDS = 1.0
# How far from the clock a run may end.
WITHIN = 0.1
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Run:
    """One finished process: its model and what it took."""

    model: Path
    seconds: float
    peak_bytes: int
    steps: int
    training_seconds: float
    others: float = 0.0
    stolen: float = 0.0


@dataclass
class Finished:
    """A process that ended: seconds of wall clock, the largest memory of its tree
    (bytes), shares of the machine's CPU time that other processes and the host took."""

    seconds: float
    peak: int
    others: float
    stolen: float


def main() -> None:
    """Run the arms that are missing in OUT_DIR, or print the table."""
    options = arguments()
    out: Path = options.out
    results = out / "results.jsonl"
    if not options.table:
        out.mkdir(parents=True, exist_ok=True)
        spec = make_spec(options)
        prepared = prepare(spec, out)
        mix = write_mix(prepared, out / "mix.jsonl")
        done = {row["arm"] for row in read(results)}
        if "base" not in done:
            append(results, {"arm": "base", **measured(spec, prepared, options.base)})
        for arm in options.arms:
            if arm not in done:
                run = ARMS[arm](options, spec, mix, out / arm)
                row = measured(spec, prepared, run.model)
                text = run.steps * BATCH * BLOCK * row.pop("bytes_per_token")
                append(
                    results,
                    {
                        "arm": arm,
                        **row,
                        "seconds": round(run.seconds, 1),
                        "steps": run.steps,
                        "bytes_per_second": round(text / run.training_seconds),
                        "bytes_of_text": round(text),
                        "peak_megabytes": run.peak_bytes // 2**20,
                        "others": round(run.others, 3),
                        "stolen": round(run.stolen, 3),
                    },
                )
    print(table(read(results)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("protected", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--language", required=True)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--new-tokens", type=int, default=1_500)
    parser.add_argument("--llamafactory", type=Path, help="its virtual environment")
    parser.add_argument("--axolotl", type=Path, help="its virtual environment")
    parser.add_argument("--arms", nargs="+", default=["mothertongue", "plain"])
    parser.add_argument("--table", action="store_true")
    return parser.parse_args()


# --- Text ------------------------------------------------------------------------------


def make_spec(options: argparse.Namespace) -> JobSpec:
    """What Mothertongue is asked to do: new pieces, then reading until the clock ends."""
    rows = {}
    for role in ("text", "protected"):
        path = options.out / f"{role}.jsonl"
        text = getattr(options, role).read_text(encoding="utf-8")
        write_rows(path, ({"text": part} for part in paragraphs(text)))
        rows[role] = str(path)
    return JobSpec(
        job="bench",
        language=options.language,
        base=str(options.base.resolve()),
        data=Data(
            target=(Corpus(rows["text"], "monolingual", (options.language,)),),
            protected=(Corpus(rows["protected"], "monolingual", ("en",)),),
        ),
        stages=(
            Prepare(),
            ExtendVocabulary(new_tokens=options.new_tokens),
            ContinuePretraining(
                minutes=options.minutes,
                learning_rate=options.rate,
                block_tokens=BLOCK,
                batch_blocks=BATCH,
                replay_share=REPLAY_SHARE,
                epochs=1_000,
                evaluations=1,
                precision="float32",
            ),
        ),
    )


def paragraphs(text: str) -> Iterator[str]:
    """Documents of a plain text file: parts between empty lines, else lines."""
    parts = [part.strip() for part in text.split("\n\n")]
    if len(parts) < 20:
        parts = [line.strip() for line in text.splitlines()]
    return (part for part in parts if part)


def prepare(spec: JobSpec, out: Path) -> Path:
    """The split text; no arm learns from what is held out."""
    folder = out / "prepared"
    run_job(replace(spec, stages=spec.stages[:1]), folder)
    return folder / "stages" / "00-prepare"


def write_mix(prepared: Path, path: Path) -> Path:
    """What the peers read: target text with REPLAY_SHARE of protected text by bytes.

    All documents of the target once; protected documents drawn anew where they are few.
    """
    dice = random.Random(1)
    target = list(read_texts(prepared / "target-train.jsonl"))
    pool = list(read_texts(prepared / "protected-train.jsonl"))
    wanted = sum(len(t.encode()) for t in target) * REPLAY_SHARE / (1 - REPLAY_SHARE)
    replay: list[str] = []
    while pool and wanted > 0:
        for text in dice.sample(pool, len(pool)):
            if wanted > 0:
                replay.append(text)
                wanted -= len(text.encode())
    texts = target + replay
    dice.shuffle(texts)
    write_rows(path, ({"text": text} for text in texts))
    return path


# --- Arms ------------------------------------------------------------------------------


def mothertongue(options: argparse.Namespace, spec: JobSpec, _: Path, out: Path) -> Run:
    """The engine, as the site runs it, with all that it does inside the clock: splitting
    the text, measuring the base for its report, extending the vocabulary, one
    evaluation before the first step and one after the last.
    """
    stages = list(spec.stages)
    clock = 60 * options.minutes - SPARE_SECONDS
    trial = replace(
        spec, stages=(*stages[:2], replace(stages[2], steps=1, minutes=1.0))
    )
    short = engine(trial, out.with_name(out.name + "-trial"))
    # The stage plans its own minutes, with what it does before and after its steps.
    before = short.seconds - short.training_seconds
    for again in ("", "-again", "-once-more"):
        stages[2] = replace(stages[2], minutes=(clock - before) / 60)
        found = engine(
            replace(spec, stages=tuple(stages)), out.with_name(out.name + again)
        )
        if abs(found.seconds / clock - 1) <= WITHIN:
            break
        before += found.seconds - clock
    return found


def engine(spec: JobSpec, out: Path) -> Run:
    """`python -m training` on a spec."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "spec.json").write_text(json.dumps(spec.as_json()))
    command = [sys.executable, "-m", "training", str(out / "spec.json"), str(out)]
    done = run(command, out / "log", cwd=ROOT)
    stage = out / "stages" / "02-continue_pretraining"
    record = json.loads((stage / "manifest.json").read_text())
    return Run(
        stage / "model",
        done.seconds,
        done.peak,
        record["figures"]["steps"],
        record["seconds"],
        done.others,
        done.stolen,
    )


def plain(options: argparse.Namespace, spec: JobSpec, mix: Path, out: Path) -> Run:
    """transformers' Trainer in a plain script."""

    def command(folder: Path, steps: int) -> list[str]:
        script = str(ROOT / "bench/plain_trainer.py")
        return [
            *(sys.executable, script, spec.base, str(mix), str(folder)),
            *("--steps", str(steps), "--rate", str(options.rate)),
            *("--batch", str(BATCH), "--block", str(BLOCK)),
        ]

    return against_the_clock(options, command, out)


def llamafactory(
    options: argparse.Namespace, spec: JobSpec, mix: Path, out: Path
) -> Run:
    """LLaMA-Factory: continued pretraining, full, packed."""

    def command(folder: Path, steps: int) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        info = {"mix": {"file_name": str(mix), "columns": {"prompt": "text"}}}
        (folder / "dataset_info.json").write_text(json.dumps(info))
        settings: dict[str, Any] = {
            "model_name_or_path": spec.base,
            "stage": "pt",
            "do_train": True,
            "finetuning_type": "full",
            "dataset": "mix",
            "dataset_dir": str(folder),
            "cutoff_len": BLOCK,
            "packing": True,
            "output_dir": str(folder / "model"),
            "per_device_train_batch_size": BATCH,
            "gradient_accumulation_steps": 1,
            "learning_rate": options.rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": max(1, round(0.03 * steps)),
            "weight_decay": 0.1,
            "max_steps": steps,
            "save_strategy": "no",
            "logging_steps": 50,
            "report_to": "none",
            "use_cpu": True,
            "overwrite_cache": True,
            "seed": 1,
        }
        path = folder / "settings.yaml"
        path.write_text(json.dumps(settings))  # JSON is YAML too
        return [str(options.llamafactory / "bin/llamafactory-cli"), "train", str(path)]

    return against_the_clock(options, command, out, model="model")


def axolotl(options: argparse.Namespace, spec: JobSpec, mix: Path, out: Path) -> Run:
    """axolotl: pretraining data set, full."""

    def command(folder: Path, steps: int) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            "base_model": spec.base,
            # Documents are joined and cut into blocks; packing with masks needs a GPU.
            "pretraining_dataset": [
                {
                    "path": "json",
                    "data_files": [str(mix)],
                    "name": "default",
                    "type": "pretrain",
                    "text_column": "text",
                }
            ],
            "output_dir": str(folder / "model"),
            "sequence_len": BLOCK,
            "sample_packing": False,
            "pad_to_sequence_len": False,
            "micro_batch_size": BATCH,
            "gradient_accumulation_steps": 1,
            "learning_rate": options.rate,
            "lr_scheduler": "cosine",
            "optimizer": "adamw_torch",
            "warmup_steps": max(1, round(0.03 * steps)),
            "weight_decay": 0.1,
            "max_steps": steps,
            "save_strategy": "no",
            "logging_steps": 50,
            "use_cpu": True,
            "bf16": False,
            "fp16": False,
            "tf32": False,
            "seed": 1,
        }
        path = folder / "settings.yml"
        path.write_text(json.dumps(settings))  # JSON is YAML too
        command = [str(options.axolotl / "bin/axolotl"), "train", str(path)]
        return [*command, "--launcher", "python"]

    return against_the_clock(options, command, out, model="model")


ARMS: dict[str, Callable[..., Run]] = {
    "mothertongue": mothertongue,
    "plain": plain,
    "llamafactory": llamafactory,
    "axolotl": axolotl,
}


def against_the_clock(
    options: argparse.Namespace,
    command: Callable[[Path, int], list[str]],
    out: Path,
    model: str = ".",
) -> Run:
    """A peer with as many steps as fit: two short runs give start and seconds a step."""
    out.mkdir(parents=True, exist_ok=True)
    clock = 60 * options.minutes - SPARE_SECONDS
    # The first run only fills the caches of the file system and of Python.
    trials = [
        run(command(out / f"trial-{name}", count), out / f"trial-{name}.log").seconds
        for name, count in (("0", 2), ("1", 2), ("2", 2 + TRIAL_STEPS))
    ]
    short = trials[1]
    per_step = max(1e-3, (trials[2] - short) / TRIAL_STEPS)
    start = max(0.0, short - 2 * per_step)
    for name in ("run", "again", "once-more"):
        steps = max(1, int((clock - start) / per_step))
        done = run(command(out / name, steps), out / f"{name}.log")
        if abs(done.seconds / clock - 1) <= WITHIN:
            break
        per_step = (done.seconds - start) / steps
    return Run(
        out / name / model,
        done.seconds,
        done.peak,
        steps,
        done.seconds - start,
        done.others,
        done.stolen,
    )


def run(command: list[str], log: Path, cwd: Path | None = None) -> Finished:
    """Run a command to its end."""
    environment = {
        **os.environ,
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000"),
        "HF_HUB_OFFLINE": "1",
        "WANDB_DISABLED": "true",
        "DO_NOT_TRACK": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    began, machine = time.monotonic(), machine_ticks()
    own = own_seconds()
    with log.open("wb") as file:
        child = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=cwd
        )
        watch = Memory(child.pid)
        watch.start()
        code = child.wait()
        seconds = time.monotonic() - began
        watch.stop.set()
        watch.join()
    if code:
        raise SystemExit(f"{command[0]} ended with {code}; see {log}")
    whole = seconds * (os.cpu_count() or 1)
    busy, stolen = (
        (now - before) / TICKS_A_SECOND
        for now, before in zip(machine_ticks(), machine, strict=True)
    )
    own = own_seconds() - own
    return Finished(seconds, watch.peak, max(0.0, busy - own) / whole, stolen / whole)


def machine_ticks() -> tuple[int, int]:
    """CPU time since the machine started: of all processes, and taken by its host."""
    line = Path("/proc/stat").read_text().splitlines()[0].split()
    ticks = [int(value) for value in line[1:]]
    return sum(ticks[:3]) + sum(ticks[5:7]), ticks[7]


def own_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Memory(threading.Thread):
    """The largest sum of resident memory of a process and its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.stop = threading.Event()
        self.peak = 0

    def run(self) -> None:
        """Look twice a second."""
        while not self.stop.wait(0.5):
            self.peak = max(self.peak, sum(map(resident, family(self.pid))))


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in family(int(child)))]


def resident(pid: int) -> int:
    """Resident bytes of one process; 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


# --- Measuring -------------------------------------------------------------------------


def measured(spec: JobSpec, prepared: Path, model: Path) -> dict[str, Any]:
    """Bits per byte and characters per token of a saved model on the held-out text."""
    from training.evaluation.evaluator import Evaluator
    from training.families import load_model, load_tokenizer

    tokenizer = load_tokenizer(model)
    evaluator = Evaluator(load_model(model), tokenizer, spec, prepared, "held_out")
    figures = evaluator.everything()
    bits = figures["bits_per_byte"]
    text = "\n".join(read_texts(prepared / "target-held_out.jsonl"))
    other = "\n".join(read_texts(prepared / "protected-held_out.jsonl"))
    target, protected = (
        len(t.encode()) / len(tokenizer(t, verbose=False)["input_ids"])
        for t in (text, other)
    )
    # A token of the mix: the shares are by bytes, so tokens add up as their inverses.
    per_token = 1 / ((1 - REPLAY_SHARE) / target + REPLAY_SHARE / protected)
    return {
        "target": bits["target"],
        "protected": bits["protected"],
        "characters_per_token": figures["tokenizer"]["characters_per_token"],
        "bytes_per_token": per_token,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = [
        "| | target bits/byte | protected bits/byte | characters/token | text bytes/s "
        "| steps | seconds | peak MB | others, host |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ran = (
            f"{row['bytes_per_second']:,} | {row['steps']} | {row['seconds']} | "
            f"{row['peak_megabytes']:,} | {row['others']:.0%}, {row['stolen']:.0%} |"
            if "steps" in row
            else "| | | | |"
        )
        lines.append(
            f"| {row['arm']} | {row['target']:.3f} | {row['protected']:.3f} | "
            f"{row['characters_per_token']:.2f} | {ran}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
