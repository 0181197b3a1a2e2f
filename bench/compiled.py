"""Compiled steps beside eager ones: does torch.compile pay for small models on a CPU?

    python bench/compiled.py BASE_FOLDER...

Passes forward and back over 16 blocks of 256 tokens in packed documents, one thread.
Every line is a process of its own: CPU seconds of the median of five passes, and those of
the first compiled one with the compiler's, which is nearly all compiling (nothing cached).
CPU seconds depend little on what else the machine does.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROWS, WIDTH, DOCUMENT = 16, 256, 100


def passes(base: str, precision: str) -> dict[str, float]:
    """Measure one base and precision in this process."""
    sys.path.insert(0, str(ROOT))
    import torch

    from training.data.packing import Batch
    from training.families import load_model
    from training.head_loss import HeadLoss

    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = load_model(Path(base)).train()
    ids = torch.randint(0, model.config.vocab_size, (ROWS, WIDTH))
    places = torch.arange(WIDTH).expand(ROWS, -1)
    batch = Batch(
        ids, ids, places % DOCUMENT, places // DOCUMENT, ids.numel(), float(ids.numel())
    )
    inputs = batch.inputs(torch.device("cpu"), "sdpa", model.config)
    head = HeadLoss(model)
    half = precision == "bfloat16"

    def once() -> float:
        began = time.process_time()
        head.backward(
            inputs,
            ids,
            ids.numel(),
            lambda: torch.autocast("cpu", torch.bfloat16) if half else nullcontext(),
        )
        model.zero_grad(set_to_none=True)
        return time.process_time() - began

    def median() -> float:
        once()
        return sorted(once() for _ in range(5))[2]

    eager = median()
    head.body = torch.compile(model.base_model, dynamic=False)
    first = once() + children()
    return {
        "eager": round(eager, 3),
        "compiled": round(median(), 3),
        "compiling": round(first, 1),
    }


def children() -> float:
    """CPU seconds of the compilers that this process has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    if sys.argv[1] == "--one":
        sys.stdout.write(json.dumps(passes(*sys.argv[2:])) + "\n")
        return
    for base in sys.argv[1:]:
        for precision in ("float32", "bfloat16"):
            with tempfile.TemporaryDirectory() as cache:
                found = subprocess.run(
                    [sys.executable, __file__, "--one", base, precision],
                    env={
                        **os.environ,
                        "TORCHINDUCTOR_CACHE_DIR": cache,
                        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # as children to wait for
                    },
                    check=True,
                    capture_output=True,
                    text=True,
                )
            sys.stdout.write(f"{Path(base).name} {precision} {found.stdout}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
