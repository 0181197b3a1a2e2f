"""Targets that the model itself revises, for pairs that may not be translations.

Of sentences collected from the web many stand beside what is no translation of them, and
which ones nobody knows. Meng et al. 2025, How to Learn in a Noisy World?
(arXiv:2407.02208) trust the model more and more while it learns: the target of a token is

    (1 - w) * the given token + w * the model's own distribution, sharpened

where the distribution is a fixed target, through which no gradient flows.

The sharpening (a temperature T below 1; Wang et al. 2022, ProSelfLC, arXiv:2207.00118) is
what does the work. With the model's probabilities p and the given token y the gradient of
the logits is p - (1 - w) * y - w * p_T; at T = 1 that is (1 - w) * (p - y): the direction
of cross-entropy, merely shorter. Only p_T, which puts more on what the model already
holds likely, turns it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from training.spec import TuneInstructions


@dataclass(frozen=True)
class Revision:
    """How far targets are revised, and where: `marked` [rows, positions] is true at the
    labels that may be wrong, in the places of the labels."""

    weight: float
    temperature: float
    marked: torch.Tensor


@dataclass(frozen=True)
class SelfCorrection:
    """The weight of the model's own distribution is 0 at the first of `steps` and grows
    in a straight line to `weight` at the last."""

    weight: float
    temperature: float
    steps: int

    @classmethod
    def of(cls, settings: TuneInstructions, steps: int) -> SelfCorrection:
        """What the settings of a tuning of so many steps ask for."""
        temperature = settings.self_correction_temperature
        return cls(settings.self_correction, temperature, steps)

    def at(self, step: int, marked: torch.Tensor) -> Revision:
        """What is revised at a step (from 0)."""
        done = min(1.0, step / max(1, self.steps - 1))
        return Revision(self.weight * done, self.temperature, marked)


def change(
    logits: torch.Tensor, labels: torch.Tensor, weight: float, temperature: float
) -> torch.Tensor:
    """What revising adds to the summed cross-entropy of tokens [tokens, rows].

    The targets before and after both sum to one, so that the normaliser of the logits
    cancels: w * (logit of the given token - mean logit under p_T).
    """
    own = torch.softmax(logits.detach() / temperature, dim=-1)
    given = logits.gather(-1, labels[:, None]).squeeze(-1)
    return weight * (given - (own * logits).sum(-1)).sum()
