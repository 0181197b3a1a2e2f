"""Two processes that train small models together, for test_ranks.py: all its variants
one after the other, since starting a process costs more than any of them.

    python -m tests.training.ranks.together RANK FOLDER

The first writes FOLDER/NAME.safetensors for every variant; what is refused stands in
FOLDER/NAME.txt, by rank.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.training.pretraining.test_loop import Place, loop
from training import halved_passes
from training.data.packing import IGNORED, Batch
from training.errors import OutOfMemory, Stopped
from training.manifest import write_json
from training.pretraining.loop import Pretraining
from training.ranks import Ranks
from training.ranks.__main__ import is_silence

SIZE, STOP_AFTER = 2, 4
# Five rows for two processes: one of them has a row less.
COMMON = {"batch_blocks": 5, "steps": 6, "evaluations": 2}
REPLICATED: dict[str, dict[str, Any]] = {
    "full": {},
    **{
        method: {"method": method}
        for method in ("lora", "rslora", "dora", "pissa", "olora", "loftq")
    },
    "bottleneck": {"method": "bottleneck"},
    **{trains: {"trains": trains} for trains in ("new_rows", "lisa", "half")},
    "average": {"average_last": 2},
    "branches": {"branches": 2},
    "forgetting": {"forget_every_steps": 2},
}
SHARDED: dict[str, dict[str, Any]] = {
    "full": {},
    "untied": {"tied": False},
    "body": {"trains": "body"},
    "embeddings": {"trains": "embeddings"},
    "layers": {"first_layers": 1.0, "modules": "attention"},
    "twice": {"gradient_checkpointing": "on"},
    "lora": {"method": "lora"},
    "rslora": {"method": "rslora"},
    "lora and embeddings": {"method": "lora", "adapter_embeddings": "all"},
}
DROPOUT = {"method": "lora", "lora_dropout": 0.2}
# What goes wrong if a rank divides by its own tokens, or all read the same rows.
WRONG = ("own tokens", "same rows")


def main(rank: int, folder: Path) -> None:
    from accelerate import PartialState

    torch.set_num_threads(1)
    # transformers lets only the first of several processes write a folder.
    place = Place(folder / f"place-{rank}")
    PartialState(
        cpu=True,
        init_method=f"file://{folder / 'meeting'}",
        timeout=timedelta(seconds=100),
    )
    work = Work(rank, folder, place)
    for name, values in REPLICATED.items():
        work.train(f"replicated {name}", False, **values)
    for name, values in SHARDED.items():
        work.train(f"sharded {name}", True, **values)
    for name in WRONG:
        work.train(f"replicated {name}", False, spoil=name)
    for way in ("replicated", "sharded"):
        work.begin(folder / f"{way} begun", way == "sharded")
        work.train(f"{way} ended", way == "sharded", run=folder / f"{way} to end")
        # Stopped and taken up by the same number, with chance in every step.
        for name in ("straight", "again"):
            run = folder / f"{way} {name}"
            if name == "again":
                work.begin(run, way == "sharded", **DROPOUT)
            work.train(run.name, way == "sharded", run=run, **DROPOUT)
    work.full_memory("replicated full memory", False)
    work.full_memory("sharded halved", True, halvings=2)
    work.full_memory("sharded full memory", True)  # the last: it ends badly


class Work:
    """This process's part."""

    def __init__(self, rank: int, folder: Path, place: Place) -> None:
        self.rank, self.folder, self.place = rank, folder, place

    def loop(self, run: Path, sharded: bool, **values: Any) -> Pretraining:
        """The loop of a variant; the first process alone has an event file."""
        ranks = Ranks(self.rank, SIZE, sharded=sharded, device=torch.device("cpu"))
        made = loop(self.place, run, ranks=ranks, **{**COMMON, **values})
        if self.rank:
            made.events.path = Path(os.devnull)
        return made

    def train(
        self,
        name: str,
        sharded: bool,
        *,
        run: Path | None = None,
        spoil: str = "",
        **values: Any,
    ) -> None:
        """Train to the end and keep the weights."""
        own = self.folder / f"{name} {self.rank}"
        made = self.loop(run or own, sharded, **values)
        if spoil:
            made.ranks.share = lambda batch: spoilt(spoil, made.ranks, batch)
        made.train(made.make_plan({}, 0.0))
        self.keep(name, made)

    def keep(self, name: str, made: Pretraining) -> None:
        """The weights as one process holds them; None of them in parts."""
        weights = made.ranks.whole(dict(made.model.named_parameters()))
        if self.rank == 0:
            plain = {n: p.detach().contiguous() for n, p in weights.items()}
            save_file(plain, self.folder / f"{name}.safetensors")

    def begin(self, run: Path, sharded: bool, **values: Any) -> None:
        """Stop after STOP_AFTER steps; only the last process is asked to."""
        made = self.loop(run, sharded, **values)
        original, steps = made.step, []

        def counted(*arguments: Any) -> float:
            steps.append(1)
            made.stop.requested = len(steps) == STOP_AFTER and self.rank == SIZE - 1
            return original(*arguments)

        made.step = counted
        try:
            made.train(made.make_plan({}, 0.0))
        except Stopped:
            (self.folder / f"{run.name} {self.rank}.txt").write_text(f"{len(steps)}")

    def full_memory(self, name: str, sharded: bool, halvings: int = 0) -> None:
        """The last process has no room for two rows; `halvings` as often were passes
        made smaller before."""
        run = self.folder / f"{name} {self.rank}"
        kept = run / "work" / halved_passes.FILE
        kept.parent.mkdir(parents=True)
        if halvings:
            write_json(kept, {"rows": 1, "halvings": halvings})
        made = self.loop(run, sharded)
        plan = made.make_plan({}, 0.0)

        def room(module: Any, arguments: Any, values: Any) -> None:
            rows = len(values["input_ids"])
            if torch.is_grad_enabled() and rows > 1 and self.rank == SIZE - 1:
                raise MemoryError

        # In front of all that waits for the others.
        made.model.base_model.register_forward_pre_hook(
            room, with_kwargs=True, prepend=True
        )
        try:
            made.train(plan)
        except OutOfMemory as problem:
            (self.folder / f"{name} {self.rank}.txt").write_text(problem.sentence)
            return
        except RuntimeError as problem:
            if not is_silence(problem):  # the other one is gone
                raise
            return
        self.keep(name, made)


def spoilt(how: str, ranks: Ranks, batch: Batch) -> Batch:
    """A share that is wrong."""
    if how == "same rows":
        return batch.share(0, ranks.size)
    mine = batch.share(ranks.rank, ranks.size)
    return replace(mine, tokens=int((mine.labels != IGNORED).sum()))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)
