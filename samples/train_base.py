"""Train the bundled English base model, `samples/base-en`, from public-domain books.

    python samples/train_base.py BOOKS_DIR OUT_DIR --minutes 90 [--threads 2]

Reads every ``*.txt`` in BOOKS_DIR whose row in the folder's README.md is marked as
simple (all of them where there is no such mark), trains a byte-level BPE tokenizer and
a small Llama on them, and writes a Hugging Face folder. The schedule is a function of
elapsed wall-clock time (warm-up, constant, linear cool-down), so that the run ends when
it is told to on any machine. The last 1 % of every book is held out; bits per byte on it
is written to OUT_DIR/figures.json.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 3072
SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
CONTEXT = 512
# Letters stay with their combining marks and digits stand alone: the same pieces then
# serve scripts this base has never seen (Indic vowel signs are \p{M}).
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}\p{M}]?[\p{L}\p{M}]+"
    r"|\p{N}| ?[^\s\p{L}\p{N}\p{M}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
HELD_OUT_SHARE = 0.01
PEAK_LEARNING_RATE = 2e-3  # AdamW, d=256: the usual range for models of a few million
SEED = 20261120


def read_books(folder: Path) -> list[str]:
    """Texts of the simple books, paragraphs joined to single lines."""
    readme = folder / "README.md"
    marked: set[str] = set()
    if readme.exists():
        marked = set(re.findall(r"^\| x \| ([^|]+\.txt) \|", readme.read_text(), re.M))
    books = []
    for path in sorted(folder.glob("*.txt")):
        if marked and path.name not in marked:
            continue
        paragraphs = re.split(r"\n\s*\n", path.read_text(encoding="utf-8"))
        lines = (" ".join(p.split()) for p in paragraphs)
        books.append("\n".join(line for line in lines if line))
    return books


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of VOCABULARY pieces, special tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern=Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL[0],
        eos_token=SPECIAL[0],
        pad_token=SPECIAL[1],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """About 4.4 million parameters, input and output rows tied."""
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        rope_theta=10000.0,
    )
    return LlamaForCausalLM(config)


def tokenise(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> np.ndarray:
    """Ids of every text in order, each ended by end-of-text."""
    end = tokenizer.eos_token_id
    parts = []
    for text in texts:
        lines = text.split("\n")
        for start in range(0, len(lines), 200):
            chunk = "\n".join(lines[start : start + 200]) + "\n"
            parts.extend(tokenizer.backend_tokenizer.encode(chunk).ids)
        parts.append(end)
    return np.asarray(parts, dtype=np.int32)


def bits_per_byte(model, ids: np.ndarray, text_bytes: int, limit: int = 120) -> float:
    """Bits per UTF-8 byte over the first `limit` windows of the held-out ids."""
    model.eval()
    nats, seen = 0.0, 0
    with torch.no_grad():
        for start in range(0, min(len(ids) - 1, limit * CONTEXT), CONTEXT):
            window = torch.from_numpy(ids[start : start + CONTEXT + 1].astype(np.int64))
            logits = model(window[None, :-1]).logits[0].float()
            nats += torch.nn.functional.cross_entropy(
                logits, window[1:], reduction="sum"
            ).item()
            seen += len(window) - 1
    model.train()
    return nats / math.log(2) / (text_bytes * seen / len(ids))


def learning_rate(elapsed: float) -> float:
    """Warm-up over 1 % of the time, constant, linear cool-down in the last 30 %."""
    if elapsed < 0.01:
        return PEAK_LEARNING_RATE * (elapsed / 0.01 + 0.02)
    if elapsed < 0.7:
        return PEAK_LEARNING_RATE
    return PEAK_LEARNING_RATE * max(0.02, (1 - elapsed) / 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("books", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16, help="sequences a step")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)

    books = read_books(options.books)
    train = [b[: int(len(b) * (1 - HELD_OUT_SHARE))] for b in books]
    held_out = [b[len(t) :] for b, t in zip(books, train, strict=True)]
    tokenizer = train_tokenizer(train)
    tokenizer.save_pretrained(options.out)
    ids, held = tokenise(tokenizer, train), tokenise(tokenizer, held_out)
    held_bytes = sum(len(t.encode()) for t in held_out)
    print(f"{len(books)} books, {len(ids)} tokens, {len(held)} held out", flush=True)

    model = build_model(tokenizer)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": 0.1},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=PEAK_LEARNING_RATE,
        betas=(0.9, 0.95),
        fused=True,
    )
    random = np.random.default_rng(SEED)
    started, step, tokens, reported = time.monotonic(), 0, 0, 0.0
    average = None
    while (elapsed := (time.monotonic() - started) / (60 * options.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(elapsed)
        starts = random.integers(0, len(ids) - CONTEXT - 1, options.batch)
        batch = np.stack([ids[s : s + CONTEXT + 1] for s in starts]).astype(np.int64)
        batch = torch.from_numpy(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), batch[:, 1:].flatten()
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, tokens = step + 1, tokens + batch[:, 1:].numel()
        average = (
            loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        )
        seconds = time.monotonic() - started
        if seconds - reported > 60 or step == 20:
            reported = seconds
            print(
                f"step {step} loss {average:.4f} lr {learning_rate(elapsed):.5f} "
                f"{tokens / seconds:.0f} tokens/s {elapsed:.1%}",
                flush=True,
            )
        if step % 1000 == 0:
            bits = bits_per_byte(model, held, held_bytes, limit=30)
            print(f"step {step} held-out bits per byte {bits:.4f}", flush=True)
            model.save_pretrained(options.out)

    figures = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "books": len(books),
        "training_tokens_seen": tokens,
        "corpus_tokens": len(ids),
        "steps": step,
        "minutes": options.minutes,
        "threads": options.threads,
        "held_out_bits_per_byte": round(bits_per_byte(model, held, held_bytes), 4),
        "held_out_characters_per_token": round(sum(map(len, held_out)) / len(held), 3),
    }
    # bfloat16 halves the file; the figure above is re-measured on what is saved.
    model.to(torch.bfloat16).save_pretrained(options.out)
    saved = LlamaForCausalLM.from_pretrained(options.out, dtype=torch.float32)
    figures["held_out_bits_per_byte_saved"] = round(
        bits_per_byte(saved, held, held_bytes), 4
    )
    (options.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
