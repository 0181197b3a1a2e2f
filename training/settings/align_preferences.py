"""CONTRACT: settings of the stage align_preferences. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.settings import pace
from training.settings.needs import Needs
from training.settings.setting import StageSettings, setting

PAIRS: Needs = (("data.preferences",),)
METHODS = ("dpo", "ipo", "kto", "orpo", "simpo")


@dataclass(frozen=True)
class AlignPreferences(StageSettings):
    """Prefer the better of two answers, after the model has learned to answer."""

    stage: ClassVar[str] = "align_preferences"

    method: str = setting(
        "dpo",
        "Method",
        "dpo: the usual one; ipo: less eager where pairs are few or noisy; kto: judges "
        "each answer by itself; orpo: learns the better answer too; simpo: by mean "
        "log-probability. The last two need no reference model.",
        choices=METHODS,
        source="Rafailov 2023; Azar 2023; Ethayarajh 2024; Hong 2024; Meng 2024",
        needs=dict.fromkeys(METHODS, PAIRS),
    )
    minutes: float = pace.minutes(2.0)
    steps: int = pace.steps()
    epochs: float = setting(
        1.0,
        "Passes over the pairs at most",
        "More than one or two learns the pairs by heart.",
        unit="passes",
        low=0.01,
        high=1_000,
        source="one epoch: SambaLingo, SimPO",
        acts={"steps": (0,)},
    )
    least_pairs: int = setting(
        1_000,
        "Pairs at least",
        "With fewer, instruction tuning on the better answers is the better use of them "
        "and this stage is left out.",
        unit="pairs",
        low=2,
        high=100_000_000,
        source="a judgement: fewer pairs teach more as answers to learn from",
        acts={"insist": ("no",)},
    )
    insist: str = setting(
        "no",
        "Go on with fewer pairs",
        "yes: also with fewer pairs than that.",
        choices=("no", "yes"),
    )
    beta: float = setting(
        0.0,
        "Beta",
        "How closely the model stays to what it was (dpo, ipo, kto), the weight of the "
        "odds ratio (orpo), the sharpness (simpo). 0: 0.1, and 2.5 for simpo.",
        low=0.0,
        high=100.0,
        source="the papers; ruadapt for simpo",
    )
    simpo_margin: float = setting(
        0.6,
        "Margin",
        "What simpo wants the better answer to be ahead by (gamma).",
        low=0.0,
        high=100.0,
        source="ruadapt: beta 2.5, gamma 0.6",
        acts={"method": ("simpo",)},
    )
    additions: str = setting(
        "lora",
        "Kind of additions",
        "As in instruction tuning.",
        choices=("lora", "rslora", "dora", "pissa", "olora"),
    )
    lora_rank: int = setting(
        64, "LoRA rank", "Width of the low-rank additions.", low=1, high=1_024
    )
    lora_alpha: int = setting(
        16, "LoRA alpha", "Scale of the additions.", low=1, high=4_096
    )
    learning_rate: float = setting(
        1.5e-5,
        "Peak learning rate",
        "For the low-rank additions; a tenth of that of instruction tuning.",
        low=1e-8,
        high=0.1,
        source="ruadapt: SimPO with LoRA at 1.5e-5, r 64, alpha 16",
    )
    batch_pairs: int = setting(
        16, "Pairs a step", "The effective batch.", unit="pairs", low=1, high=65_536
    )
    maximum_tokens: int = setting(
        512,
        "Longest question with an answer",
        "Longer answers are cut at the end.",
        unit="tokens",
        low=32,
        high=131_072,
    )
    evaluations: int = pace.evaluations(3)
    checkpoint_minutes: float = pace.checkpoint_minutes()
    precision: str = pace.precision()
