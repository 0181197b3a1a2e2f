"""CONTRACT: settings of the stage merge_models. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.settings.setting import StageSettings, setting

INSTRUCT = (("resources.instruct",),)
MODELS = (("resources.models",),)


@dataclass(frozen=True)
class MergeModels(StageSettings):
    """Add and mix the weights of several models that grew from one base."""

    stage: ClassVar[str] = "merge_models"

    method: str = setting(
        "interpolate",
        "Method",
        "interpolate: part of the way from the base to the adapted model. chat_vector: "
        "add what instruction tuning changed in the base's sibling. re_adapt: the same "
        "in part and, with a rank, in its main directions. lep: the sibling with the new "
        "language's rows carried over. linear, slerp, ties, dare, dare_ties: mix with "
        "other models that grew from the same base.",
        choices=(
            "interpolate",
            "chat_vector",
            "re_adapt",
            "lep",
            "linear",
            "slerp",
            "ties",
            "dare",
            "dare_ties",
        ),
        source="Huang et al. 2023 (chat vector); Fleshman and Van Durme 2024 (RE-Adapt); "
        "Tikhomirov and Chernyshev 2024 (LEP); Yadav et al. 2023 (TIES); Yu et al. 2023 "
        "(DARE)",
        needs={
            "chat_vector": INSTRUCT,
            "re_adapt": INSTRUCT,
            "lep": INSTRUCT,
            "linear": MODELS,
            "slerp": MODELS,
            "ties": MODELS,
            "dare": MODELS,
            "dare_ties": MODELS,
        },
    )
    weight: float = setting(
        1.0,
        "Weight",
        "interpolate: 0 is the base, 1 the adapted model. chat_vector, re_adapt, ties, "
        "dare: how much of the differences is added. linear, slerp: the share of the "
        "job's own model, usually 0.5.",
        low=0.0,
        high=2.0,
        source="chat vector: 1; RE-Adapt: 0.5",
    )
    density: float = setting(
        0.5,
        "Density",
        "ties: the share of each difference that is kept, the largest first. dare: the "
        "share that is kept by chance, scaled up to make good for the rest.",
        low=0.01,
        high=1.0,
        source="TIES keeps 0.2; DARE 0.1 to 0.5; mergekit's examples 0.5",
        acts={"method": ("ties", "dare", "dare_ties")},
    )
    rank: int = setting(
        0,
        "Rank of the added difference",
        "For chat_vector and re_adapt: only so many main directions of each matrix are "
        "added. 0: all.",
        low=0,
        high=4_096,
        source="LoRE-Adapt: the rank that holds half of the variance",
        acts={"method": ("chat_vector", "re_adapt")},
    )
    tolerance: float = setting(
        1e-3,
        "Largest difference of logits",
        "Between the model in memory and the model read back from disk, in float32.",
        low=0.0,
        high=1.0,
    )
