"""Memory predicted by the plan beside the peak of real runs of `python -m training`.

    python bench/memory.py OUT.jsonl [--only NAME...]
    python bench/memory.py OUT.jsonl --table

Every case is a process of its own: text is split, two steps are learned, the model is
saved, read back and measured. The peak is the operating system's (VmHWM), under the
allocator's settings of a worker (workers/supervisor.py). Bases that are not real are
random, with the sample base's tokenizer.

The constants of the formula were fitted to FITTED. HELD_OUT are other shapes and
settings that no constant was fitted to, but they were looked at when terms were added to
the formula; NEW were chosen after that: how well the formula predicts. ROWS have many
rows and were chosen before their peaks were known, ANSWERING learn to answer, LONGER
take more steps, TOGETHER are several processes, of which the largest is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

from training.spec import (  # noqa: E402
    AlignPreferences,
    ContinuePretraining,
    Corpus,
    Data,
    Device,
    Evaluate,
    JobSpec,
    Merge,
    Prepare,
    StageSettings,
    TuneInstructions,
)

STORIES = ROOT.parent / "shared/data/base-models/stories260K"
TEXT = ROOT / "samples/swahili"
CHARACTERS = 60_000


@dataclass(frozen=True)
class Case:
    """A base and the settings of continue_pretraining, tune_instructions and
    align_preferences (None: without that stage), how many characters an answer has, and
    the processes that share it."""

    base: str
    settings: dict[str, Any] | None = None
    tuning: dict[str, Any] | None = None
    preferences: dict[str, Any] | None = None
    answer_characters: int = 2_000
    processes: int = 1
    sharing: str = "auto"


SMALL = {"block_tokens": 256, "batch_blocks": 16}
LARGE = {"block_tokens": 256, "batch_blocks": 8}
LORA = {"method": "lora", "lora_rank": 16, "lora_alpha": 32}
TWICE = {"gradient_checkpointing": "on"}
# Random bases, Llama where nothing is said: rows, width, layers, feed-forward width,
# heads, heads of keys, tied.
SHAPES = {
    "58M": (32_000, 512, 8, 1_376, 8, 8, False),
    "20M tied": (24_000, 384, 6, 1_024, 6, 2, True),
    "110M tied": (50_000, 640, 12, 1_792, 10, 10, True),
    "33M deep": (16_000, 320, 16, 896, 5, 5, False),
    "26M many rows": (128_000, 96, 4, 256, 4, 4, False),
    "45M GPT-NeoX": (40_000, 384, 8, 1_536, 6, 6, False),
    "39M Qwen 3": (96_000, 256, 10, 1_024, 4, 2, True),
    "76M wide": (20_000, 768, 6, 2_048, 12, 4, False),
    "17M, 64,000 rows": (64_000, 128, 4, 352, 4, 4, False),
    "33M, 256,000 rows": (256_000, 64, 4, 176, 4, 4, False),
}
KINDS = {"45M GPT-NeoX": "gpt_neox", "39M Qwen 3": "qwen3"}
FITTED = {
    "base-en full": Case("base-en", SMALL),
    "base-en lora": Case("base-en", SMALL | LORA),
    "stories260K full": Case("stories260K", SMALL),
    "58M full 256": Case("58M", LARGE),
    "58M full 512": Case("58M", LARGE | {"block_tokens": 512, "batch_blocks": 4}),
    "58M full 256 checkpointing": Case("58M", LARGE | TWICE),
    "58M lora 256": Case("58M", LARGE | LORA),
    "58M lora 512": Case(
        "58M", LARGE | LORA | {"block_tokens": 512, "batch_blocks": 4}
    ),
    "58M lora 256 checkpointing": Case("58M", LARGE | LORA | TWICE),
    "58M full 256 bfloat16": Case("58M", LARGE | {"precision": "bfloat16"}),
}
HELD_OUT = {
    "20M tied full 128": Case("20M tied", {"block_tokens": 128, "batch_blocks": 48}),
    "20M tied lora rank 64": Case(
        "20M tied", LORA | {"lora_rank": 64, "block_tokens": 384, "batch_blocks": 8}
    ),
    "110M tied full 256": Case("110M tied", {"block_tokens": 256, "batch_blocks": 4}),
    "110M tied lora rank 8 checkpointing": Case(
        "110M tied",
        LORA | TWICE | {"lora_rank": 8, "block_tokens": 512, "batch_blocks": 4},
    ),
    "33M deep full 1,024 checkpointing": Case(
        "33M deep", TWICE | {"block_tokens": 1_024, "batch_blocks": 4}
    ),
    "33M deep lora rank 32": Case(
        "33M deep", LORA | {"lora_rank": 32, "block_tokens": 256, "batch_blocks": 8}
    ),
    "26M many rows full": Case("26M many rows", SMALL),
    "base-en full, batch of 64": Case(
        "base-en", {"block_tokens": 256, "batch_blocks": 64}
    ),
}
NEW = {
    "45M GPT-NeoX full 384": Case(
        "45M GPT-NeoX", {"block_tokens": 384, "batch_blocks": 6}
    ),
    "39M Qwen 3 lora rank 16, 192": Case(
        "39M Qwen 3", LORA | {"block_tokens": 192, "batch_blocks": 12}
    ),
    "76M wide full 640 checkpointing": Case(
        "76M wide", TWICE | {"block_tokens": 640, "batch_blocks": 4}
    ),
    "76M wide lora rank 64, 320": Case(
        "76M wide", LORA | {"lora_rank": 64, "block_tokens": 320, "batch_blocks": 6}
    ),
}
ROWS = {
    "17M, 64,000 rows full": Case("17M, 64,000 rows", SMALL),
    "33M, 256,000 rows full": Case("33M, 256,000 rows", SMALL),
}
ANSWERING = {
    "58M tuned with lora rank 16, 256": Case(
        "58M",
        tuning={"lora_rank": 16, "maximum_tokens": 256, "batch_examples": 8},
    ),
    "58M tuned with lora rank 64, 512 packed": Case(
        "58M",
        tuning={"maximum_tokens": 512, "batch_examples": 8, "packing": "on"},
    ),
    "58M full 256, then tuned": Case(
        "58M",
        LARGE,
        tuning={"lora_rank": 16, "maximum_tokens": 256, "batch_examples": 8},
    ),
    "58M dpo lora rank 16, 256": Case(
        "58M",
        preferences={"lora_rank": 16, "maximum_tokens": 256, "batch_pairs": 8},
    ),
}
# Answers of a line or two, as people have them, in as many steps as a pass over them has:
# the longest are not among the first.
SHORT_ANSWERS = {
    "base-en tuned with lora rank 64, short answers": Case(
        "base-en",
        tuning={"batch_examples": 16, "steps": 12},
        answer_characters=100,
    ),
    "58M tuned with lora rank 16, short answers": Case(
        "58M",
        tuning={"lora_rank": 16, "batch_examples": 8, "steps": 16},
        answer_characters=150,
    ),
    "76M wide tuned with lora rank 64, answers of 400": Case(
        "76M wide",
        tuning={"batch_examples": 16, "steps": 10},
        answer_characters=400,
    ),
    "58M dpo lora rank 16, short answers": Case(
        "58M",
        preferences={"lora_rank": 16, "batch_pairs": 8, "steps": 10},
        answer_characters=150,
    ),
}
# With additions float32 and bfloat16 are mixed, which makes copies; "auto" takes it where
# it is faster.
SIXTEEN_BITS = {
    f"{name}, bfloat16": replace(
        case,
        settings=case.settings and case.settings | {"precision": "bfloat16"},
        tuning=case.tuning and case.tuning | {"precision": "bfloat16"},
    )
    for name, case in {**FITTED, **HELD_OUT, **SHORT_ANSWERS}.items()
    if name
    in (
        "58M lora 256",
        "33M deep lora rank 32",
        "base-en tuned with lora rank 64, short answers",
        "58M tuned with lora rank 16, short answers",
    )
}
LONGER = {
    "58M lora 256, 12 steps": Case("58M", LARGE | LORA | {"steps": 12}),
    "58M full 256, 12 steps": Case("58M", LARGE | {"steps": 12}),
}
TOGETHER = {
    "58M full 256, one of two, replicated": Case(
        "58M", LARGE, processes=2, sharing="replicated"
    ),
    "58M full 256, one of two, sharded": Case(
        "58M", LARGE, processes=2, sharing="sharded"
    ),
}
CASES = (
    FITTED
    | HELD_OUT
    | NEW
    | ROWS
    | ANSWERING
    | SHORT_ANSWERS
    | SIXTEEN_BITS
    | LONGER
    | TOGETHER
)


def base_folder(name: str, folder: Path) -> Path:
    """The base of a case; the random one is made."""
    if name == "base-en":
        return ROOT / "samples/base-en"
    if name == "stories260K":
        return STORIES
    path = folder / name
    if not path.is_dir():
        code = (
            "import json, sys, torch; from transformers import AutoConfig as C, "
            "AutoModelForCausalLM as M, AutoTokenizer as T; "
            "t = T.from_pretrained(sys.argv[1]); t.save_pretrained(sys.argv[2]); "
            "given = json.loads(sys.argv[3]); kind = given.pop('kind'); "
            "c = C.for_model(kind, **given) if kind else "
            "C.from_pretrained(sys.argv[1], **given); "
            "c.bos_token_id, c.eos_token_id = t.bos_token_id, t.eos_token_id; "
            "torch.manual_seed(1); M.from_config(c).save_pretrained(sys.argv[2])"
        )
        rows, width, layers, wide, heads, keys, tied = SHAPES[name]
        shape = {
            "kind": KINDS.get(name, ""),
            "vocab_size": rows,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "intermediate_size": wide,
            "num_attention_heads": heads,
            "num_key_value_heads": keys,
            "head_dim": width // heads,
            "max_position_embeddings": 1_024,
            "tie_word_embeddings": tied,
        }
        base = str(ROOT / "samples/base-en")
        command = [sys.executable, "-c", code, base, str(path), json.dumps(shape)]
        subprocess.run(command, check=True)
    return path


def rows(folder: Path, answer_characters: int) -> dict[str, Corpus]:
    """Text of the sample by what it stands for: text, instructions whose answers have so
    many characters, and pairs of such answers."""
    whole = "\n".join(
        p.read_text(encoding="utf-8") for p in sorted(TEXT.glob("*.txt"))
    )[:CHARACTERS]
    texts = [whole[i : i + 1_000] for i in range(0, len(whole), 1_000)]
    asked = [{"role": "user", "content": text[:60]} for text in texts]
    answers = [(2 * text)[:answer_characters] for text in texts]
    found: dict[str, list[dict[str, Any]]] = {
        "monolingual": [{"text": text} for text in texts],
        "instructions": [
            {"messages": [question, {"role": "assistant", "content": answer}]}
            for question, answer in zip(asked, answers, strict=True)
        ],
        "preferences": [
            {"messages": [question], "chosen": answer, "rejected": answer[::-1]}
            for question, answer in zip(asked, answers, strict=True)
        ],
    }
    corpora = {}
    for kind, lines in found.items():
        path = folder / f"{kind}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        corpora[kind] = Corpus(path=str(path), kind=kind, languages=("sw",))
    return corpora


def job(case: Case, folder: Path) -> JobSpec:
    """Split, learn two steps of each stage, measure."""
    few: dict[str, Any] = {"steps": 2, "evaluations": 1, "precision": "float32"}
    stages: list[StageSettings] = [Prepare()]
    corpora = rows(folder, case.answer_characters)
    data = Data(target=(corpora["monolingual"],))
    if case.settings is not None:
        stages.append(ContinuePretraining(**few | case.settings))
    if case.tuning is not None:
        data = replace(data, instructions=(corpora["instructions"],))
        stages.append(TuneInstructions(**few | case.tuning))
    if case.preferences is not None:
        data = replace(data, preferences=(corpora["preferences"],))
        stages.append(AlignPreferences(**few | {"insist": "yes"} | case.preferences))
    if case.settings is None or len(stages) > 2:
        stages.append(Merge())
    base = base_folder(case.base, folder)
    if case.preferences is not None and case.tuning is None:
        teach_a_template(base)
    return JobSpec(
        job="memory",
        language="sw",
        base=str(base),
        data=data,
        stages=(*stages, Evaluate(sample_tokens=1)),
        device=Device(
            kind="cpu",
            threads=case.processes,
            processes=case.processes,
            sharing=case.sharing,
        ),
    )


def teach_a_template(base: Path) -> None:
    """A base that was taught to answer has a chat template; this one only has that."""
    code = (
        "import sys; from transformers import AutoTokenizer as T; "
        "from training import templates; t = T.from_pretrained(sys.argv[1]); "
        "templates.set_up(t); t.save_pretrained(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(base)], check=True, cwd=ROOT)


def peak(spec: JobSpec, folder: Path) -> tuple[int, float]:
    """(bytes of the peak, seconds) of a run, of several processes the largest; raises
    RuntimeError where it fails."""
    run = Path(tempfile.mkdtemp(dir=folder))
    path = run / "spec.json"
    path.write_text(json.dumps(spec.as_json()), encoding="utf-8")
    began = time.monotonic()
    with (run / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "training", str(path), str(run)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env={**os.environ, **worker_environment(), "OMP_NUM_THREADS": "1"},
        )
        most = 0
        while process.poll() is None:
            for pid in (process.pid, *children(process.pid)):
                most = max(most, resident_peak(pid))
            time.sleep(0.02)
    if process.returncode:
        raise RuntimeError((run / "log").read_text()[-2_000:])
    return most, time.monotonic() - began


def worker_environment() -> dict[str, str]:
    """What a worker sets for the engine, the allocator's settings among it."""
    import django

    django.setup()
    from workers.supervisor import ENGINE_ENVIRONMENT

    return ENGINE_ENVIRONMENT


def resident_peak(pid: int) -> int:
    """The most bytes that a process has held so far; 0 where it has ended.

    Of the program it runs now: what wait4 reports (ru_maxrss) keeps the size of whoever
    started it, which in a large test process is more than the run's own.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in found.split()]


def predicted(spec: JobSpec) -> dict[str, int]:
    """The parts that the launch page shows, in bytes, with the whole as `memory`."""
    import django

    django.setup()
    from webapp.bases.passport import read_passport
    from webapp.jobs.planning import examples, memory
    from webapp.jobs.planning.situation import Situation

    situation = Situation(
        read_passport(Path(spec.base)),
        "sw",
        characters_per_token=per_token(spec.base, spec.data.target[0])[1],
        rows_of_examples=tuple(lengths(spec)),
    )
    parts = memory.parts(
        situation.passport,
        examples.as_long_as_known(situation, spec.stages),
        processes=spec.device.processes,
        sharing=spec.device.sharing,
    )
    return {**parts, "memory": sum(parts.values())}


def lengths(spec: JobSpec) -> Iterator[Any]:
    """What the site knows of rows that were uploaded."""
    from webapp.jobs.planning.situation import RowLengths

    for role in ("instructions", "preferences"):
        for corpus in getattr(spec.data, role):
            longest, characters = per_token(spec.base, corpus)
            yield RowLengths(role, math.ceil(longest / characters), taught=1.0)


def per_token(base: str, corpus: Corpus) -> tuple[int, float]:
    """(characters of the longest row, characters per token of the first rows)."""
    from webapp.bases.passport import cut
    from webapp.datasets.reading.figures import Figures, row_text

    figures = Figures()
    for line in Path(corpus.path).read_text("utf-8").splitlines():
        figures.add(json.loads(line))
    text = "\n".join(row_text(row) for row in figures.preview)[:4_000]
    return figures.longest, len(text) / len(cut(base, text))


def table(path: Path) -> str:
    """What is in the file as Markdown; predictions are made anew."""
    lines = ["| run | predicted MB | measured MB | off by |", "|---|---|---|---|"]
    measured = [json.loads(line) for line in path.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as name:
        for row in measured:
            spec = job(CASES[row["case"]], Path(name))
            found = predicted(spec)["memory"]
            off = found / row["bytes"] - 1
            lines.append(
                f"| {row['case']} | {found / 1e6:,.0f} | {row['bytes'] / 1e6:,.0f} | "
                f"{100 * off:+.0f} % |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        sys.stdout.write(table(options.out) + "\n")
        return
    with tempfile.TemporaryDirectory() as name:
        for case in options.only:
            size, seconds = peak(job(CASES[case], Path(name)), Path(name))
            row = {"case": case, "bytes": size, "seconds": round(seconds, 1)}
            with options.out.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
