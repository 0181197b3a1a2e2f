"""What a plain script with transformers' Trainer does: the first peer of bench/peers.py.

    python bench/plain_trainer.py BASE MIX.jsonl OUT --steps N --rate R

Texts are joined with the end-of-text token and cut into blocks, as in the library's own
example for causal language models. Nothing of this project is imported.
"""

from __future__ import annotations

import argparse

import torch
from datasets import Dataset, load_dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    default_data_collator,
)


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base")
    parser.add_argument("mix")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--block", type=int, default=256)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32)
    texts = load_dataset("json", data_files=options.mix, split="train")
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=options.out,
            max_steps=options.steps,
            per_device_train_batch_size=options.batch,
            learning_rate=options.rate,
            lr_scheduler_type="cosine",
            warmup_steps=max(1, round(0.03 * options.steps)),
            weight_decay=0.1,
            logging_steps=50,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            seed=1,
        ),
        train_dataset=blocks(texts, tokenizer, options.block),
        data_collator=default_data_collator,
    )
    result = trainer.train()
    trainer.save_metrics("train", result.metrics)
    trainer.save_model(options.out)
    tokenizer.save_pretrained(options.out)


def blocks(texts: Dataset, tokenizer: AutoTokenizer, size: int) -> Dataset:
    """Blocks of `size` ids out of all texts in their order."""
    end = tokenizer.eos_token_id

    def encode(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        ids: list[int] = []
        for text in rows["text"]:
            ids += [*tokenizer(text, add_special_tokens=False)["input_ids"], end]
        cut = [ids[i : i + size] for i in range(0, len(ids) - size + 1, size)]
        return {"input_ids": cut, "labels": cut}

    return texts.map(encode, batched=True, remove_columns=texts.column_names)


if __name__ == "__main__":
    main()
