"""Small real parts for tests: text in made-up languages, tokenizers, models, jobs.

Everything is made from a seed in well under a second; nothing is read from outside.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from training.events import EventWriter
from training.run import StageContext, StopFlag
from training.spec import (
    AlignPreferences,
    Corpus,
    Data,
    Device,
    JobSpec,
    StageSettings,
    TuneInstructions,
)

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
# What a mixture's configuration calls the number of its experts.
EXPERTS = {"mixtral": "num_local_experts", "qwen3_moe": "num_experts"}
SYLLABLES = {
    "latin": ["ba", "ko", "mi", "ren", "tu", "sal", "ve", "dor", "ni", "ga"],
    "cyrillic": ["қа", "бар", "ны", "тың", "жол", "ең", "ші", "да", "мер", "ұл"],
    "tibetan": ["བོད", "སྐད", "ཡིག", "གི", "མི", "རིགས", "དང", "ལ", "ནས", "པར"],
    "devanagari": ["की", "हिं", "दी", "में", "भा", "षा", "लो", "गों", "ने", "से"],
}

# The least that learns something, the same every time.
TUNE = TuneInstructions(
    steps=4,
    lora_rank=4,
    lora_alpha=8,
    learning_rate=1e-2,
    batch_examples=4,
    maximum_tokens=64,
    evaluations=2,
    precision="float32",
)
ALIGN = AlignPreferences(
    steps=3,
    least_pairs=4,
    lora_rank=4,
    learning_rate=1e-2,
    batch_pairs=2,
    maximum_tokens=96,
    evaluations=1,
    precision="float32",
)


def documents(
    count: int, *, script: str = "cyrillic", seed: int = 1, sentences: int = 4
) -> list[str]:
    """`count` different texts of a made-up language with a vocabulary of 80 words."""
    words_of = random.Random(f"words {script}")
    syllables = SYLLABLES[script]
    words = ["".join(words_of.choices(syllables, k=2)) for _ in range(80)]
    order = random.Random(f"{script} {seed}")
    texts = []
    for number in range(count):
        lines = [
            " ".join(order.choices(words, k=order.randint(5, 9))) + "."
            for _ in range(sentences)
        ]
        texts.append(f"{number} " + " ".join(lines))
    return texts


def tokenizer(texts: Sequence[str], size: int = 320) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on `texts`, with end-of-text and pad."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=SPECIAL[0],
        eos_token=SPECIAL[0],
        pad_token=SPECIAL[1],
        clean_up_tokenization_spaces=False,
    )


def model(
    rows: int,
    *,
    family: str = "llama",
    tied: bool = True,
    seed: int = 1,
    positions: int = 256,
    **more: Any,
) -> PreTrainedModel:
    """A random two-layer model of a family, in float32, without dropout; `more` goes
    into its configuration."""
    torch.manual_seed(seed)
    common: dict[str, Any] = {
        "vocab_size": rows,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": positions,
        "tie_word_embeddings": tied,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 1,
    }
    if family == "gpt2":
        sizes = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    elif family == "gpt_neox":
        sizes = {"intermediate_size": 64}
    else:
        sizes = {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8}
        if family in EXPERTS:
            sizes |= {EXPERTS[family]: 4, "num_experts_per_tok": 2}
            sizes |= {"moe_intermediate_size": 32} if family == "qwen3_moe" else {}
    config = AutoConfig.for_model(family, **{**common, **sizes, **more})
    return AutoModelForCausalLM.from_config(config).eval()


def base(
    folder: Path, *, family: str = "llama", tied: bool = True, extra_rows: int = 0
) -> Path:
    """A base model folder whose tokenizer knows the Latin language only."""
    words = tokenizer(documents(80, script="latin"))
    words.save_pretrained(folder)
    made = model(len(words) + extra_rows, family=family, tied=tied)
    made.save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return path


def corpus(
    path: Path, texts: Sequence[str], *, kind: str = "monolingual", language: str = "kk"
) -> Corpus:
    """A corpus of texts on disk."""
    write_rows(path, [{"text": text} for text in texts])
    return Corpus(path=str(path), kind=kind, languages=(language,))


def spec(
    folder: Path,
    stages: Sequence[StageSettings],
    *,
    base_folder: Path | None = None,
    count: int = 120,
    protected: bool = True,
    **fields: Any,
) -> JobSpec:
    """A job over made-up text: a Cyrillic target and a protected Latin language."""
    target = corpus(folder / "target.jsonl", documents(count))
    latin = documents(count, script="latin", seed=2)
    kept = corpus(folder / "protected.jsonl", latin, language="en")
    values: dict[str, Any] = {
        "data": Data(target=(target,), protected=(kept,) if protected else ()),
        "prompts": ("қабар",),
        "device": Device(kind="cpu", threads=1),
        **fields,
    }
    return JobSpec(
        job="test",
        language="kk",
        base=str(base_folder or base(folder / "base")),
        stages=tuple(stages),
        **values,
    )


def context(
    job: JobSpec,
    settings: StageSettings,
    run_dir: Path,
    *,
    model_folder: Path | None = None,
    finished: dict[str, Path] | None = None,
) -> StageContext:
    """What a stage is given, outside of a run."""
    folder = run_dir / "stages" / f"{settings.stage}.part"
    work = run_dir / "work" / settings.stage
    folder.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    return StageContext(
        spec=job,
        settings=settings,
        run_dir=run_dir,
        folder=folder,
        work=work,
        model=model_folder or Path(job.base),
        adapter=None,
        events=EventWriter(run_dir / "events.jsonl"),
        stop=StopFlag(),
        finished=dict(finished or {}),
    )
