"""The loss over a large vocabulary: logits of a whole batch beside chunks of tokens.

    python bench/head.py

A Llama of two layers and width 256, 2,048 tokens, forward and back. Every line is a
process of its own: CPU seconds of the faster of two steps, and the peak of the process.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOKENS, WIDTH = 2_048, 256


def step(rows: int, way: str) -> dict[str, float]:
    """Measure one way in this process."""
    sys.path.insert(0, str(ROOT))
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.head_loss import HeadLoss

    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=rows,
            hidden_size=WIDTH,
            intermediate_size=688,
            num_hidden_layers=2,
            num_attention_heads=4,
            tie_word_embeddings=True,
        )
    ).train()
    head = HeadLoss(model)
    head.whole = way == "whole"
    ids = torch.randint(0, rows, (TOKENS // 256, 256))
    seconds = []
    for _ in range(2):
        began = time.process_time()
        inputs = {"input_ids": ids, "use_cache": False}
        head.backward(inputs, ids, TOKENS, nullcontext)
        model.zero_grad(set_to_none=True)
        seconds.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": round(min(seconds), 2), "megabytes": round(peak / 1e6)}


def main() -> None:
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(step(int(sys.argv[1]), sys.argv[2])) + "\n")
        return
    for rows in (32_000, 128_000):
        for way in ("whole", "chunks"):
            command = [sys.executable, __file__, str(rows), way]
            found = subprocess.run(command, check=True, capture_output=True, text=True)
            sys.stdout.write(f"{rows} {way} {found.stdout}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
