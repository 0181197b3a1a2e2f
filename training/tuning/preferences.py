"""Preference tuning through trl: losses, reference, margins, trainers.

    dpo    DPOTrainer, sigmoid     Rafailov et al. 2023, arXiv:2305.18290
    ipo    DPOTrainer, ipo         Azar et al. 2023, arXiv:2310.12036
    kto    KTOTrainer              Ethayarajh et al. 2024, arXiv:2402.01306
    orpo   ORPOTrainer             Hong et al. 2024, arXiv:2403.07691
    simpo  CPOTrainer, simpo       Meng et al. 2024, arXiv:2405.14734

All are given ids that were made here (training/data/preferences.py): trl's trainers split
questions and answers in two other ways. The reference is what the model says before the
first step; it is computed once, so that no second adapter is kept, and a resumed run has
the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.kernels import chunked_logprob

from training.data.packing import IGNORED
from training.data.preferences import PairIds
from training.errors import Diverged
from training.ranks import ALONE, Ranks
from training.tuning.sft import micro_batch
from training.tuning.together import Together
from training.tuning.watcher import Watcher, newest_checkpoint

# It says on import that it may change; it is pinned.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from training.spec import AlignPreferences

WITH_REFERENCE = ("dpo", "ipo", "kto")
# Tokens whose log-probabilities trl computes at once where it has no kernel. On the way
# back it makes eight tensors of tokens x 32,768 rows: 34 MB each, with its own 4,096
# tokens 537 MB.
TOKENS_ON_A_CPU = 256
USUAL_BETA = {"simpo": 2.5}
OTHER_BETA = 0.1
# The copy of the adapter that trl makes as reference, and that is not needed.
REFERENCE_ADAPTER = "ref"


@dataclass(frozen=True)
class Likelihoods:
    """Log-probabilities of the answers of pairs, [pairs, 2] (better, worse), summed over
    their tokens, and the tokens."""

    sums: torch.Tensor
    tokens: torch.Tensor

    @property
    def means(self) -> torch.Tensor:
        """Nats per token, [pairs, 2]."""
        return self.sums / self.tokens


def beta_of(settings: AlignPreferences) -> float:
    """The settings' beta, or what is usual for the method."""
    return settings.beta or USUAL_BETA.get(settings.method, OTHER_BETA)


@torch.no_grad()
def likelihoods(model: Any, pairs: Sequence[PairIds], *, pad: int) -> Likelihoods:
    """What the model gives the answers, in evaluation mode and float32, a pair at a time
    so that no batch changes the numbers."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    sums, tokens = [], []
    for pair in pairs:
        answers = pair.chosen, pair.rejected
        longest = len(pair.prompt) + max(map(len, answers))
        ids = torch.full((2, longest), pad, device=device)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, IGNORED)
        for row, answer in enumerate(answers):
            whole = torch.tensor(pair.prompt + answer, device=device)
            ids[row, : len(whole)] = whole
            mask[row, : len(whole)] = 1
            labels[row, len(pair.prompt) : len(whole)] = whole[len(pair.prompt) :]
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().transpose(1, 2), labels[:, 1:], reduction="none"
        )
        sums.append(-loss.sum(1).cpu())
        tokens.append(torch.tensor([float(len(answer)) for answer in answers]))
    model.train(training)
    return Likelihoods(torch.stack(sums), torch.stack(tokens))


def margins(
    now: Likelihoods, reference: Likelihoods, settings: AlignPreferences
) -> dict[str, float]:
    """How much the better answers are preferred.

    margin and accuracy: nats per token by which the better answer is likelier, and for
    which part of the pairs it is. reward_margin and reward_accuracy: the same of the
    method's own reward, beta times the change of the summed log-probability against the
    reference, or of the mean one where there is no reference (orpo, simpo).
    """
    gaps = now.means[:, 0] - now.means[:, 1]
    if settings.method in WITH_REFERENCE:
        rewards = beta_of(settings) * (now.sums - reference.sums)
    else:
        rewards = beta_of(settings) * now.means
    gained = rewards[:, 0] - rewards[:, 1]
    return {
        "margin": round(gaps.mean().item(), 5),
        "accuracy": round((gaps > 0).float().mean().item(), 4),
        "reward_margin": round(gained.mean().item(), 5),
        "reward_accuracy": round((gained > 0).float().mean().item(), 4),
    }


class _Ours(Together):
    """What all four trainers share: ids come ready, divergence stops, no model cards."""

    averaged = True

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def tokenize_row(self, feature: dict[str, Any], *_: Any, **__: Any) -> dict:
        return feature

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        found = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        loss = found[0] if isinstance(found, tuple) else found
        if not torch.isfinite(loss):
            step = self.state.global_step + 1  # type: ignore[attr-defined]
            raise Diverged(
                "The loss of the preference tuning is no longer a number, at step "
                f"{step}."
            )
        return found

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(model, *args, **kwargs)  # type: ignore[misc]
        return self.together(model, loss)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """No card per checkpoint: the report is the card."""


class _Dpo(_Ours, DPOTrainer):
    pass


class _Kto(_Ours, KTOTrainer):
    pass


class _Orpo(_Ours, ORPOTrainer):
    pass


class _Simpo(_Ours, CPOTrainer):
    pass


TRAINERS: dict[str, type] = {
    "dpo": _Dpo,
    "ipo": _Dpo,
    "kto": _Kto,
    "orpo": _Orpo,
    "simpo": _Simpo,
}


def configuration(settings: AlignPreferences, values: dict[str, Any]) -> Any:
    """The method's configuration from the values that all trainers share."""
    values = {**values, "beta": beta_of(settings), "max_length": None}
    if settings.method == "dpo":
        return DPOConfig(loss_type=["sigmoid"], precompute_ref_log_probs=True, **values)
    if settings.method == "ipo":
        return DPOConfig(loss_type=["ipo"], precompute_ref_log_probs=True, **values)
    if settings.method == "kto":
        # Every pair is two rows.
        values["per_device_train_batch_size"] *= 2
        return KTOConfig(precompute_ref_log_probs=True, **values)
    values["max_length"] = settings.maximum_tokens
    if settings.method == "orpo":
        return ORPOConfig(remove_unused_columns=False, **values)
    return CPOConfig(
        loss_type="simpo",
        cpo_alpha=0.0,
        simpo_gamma=settings.simpo_margin,
        remove_unused_columns=False,
        **values,
    )


def rows_of(
    method: str,
    pairs: Sequence[PairIds],
    order: Sequence[int],
    reference: Likelihoods | None = None,
    mismatched: Likelihoods | None = None,
) -> Dataset:
    """The pairs of all steps in order, as the method's trainer reads them.

    `reference` and for kto `mismatched` are likelihoods of `pairs` and of
    `mismatched_pairs` before the first step.
    """
    if method in ("orpo", "simpo"):
        return Dataset.from_list([_labelled(pairs[i]) for i in order])
    assert reference is not None
    sums = reference.sums.tolist()
    if method != "kto":
        return Dataset.from_list(
            [
                {
                    "prompt_ids": pairs[i].prompt,
                    "chosen_ids": pairs[i].chosen,
                    "rejected_ids": pairs[i].rejected,
                    "ref_chosen_logps": sums[i][0],
                    "ref_rejected_logps": sums[i][1],
                }
                for i in order
            ]
        )
    assert mismatched is not None
    others, other_sums = mismatched_pairs(pairs), mismatched.sums.tolist()
    return Dataset.from_list(
        [
            {
                "prompt_ids": pairs[i].prompt,
                "completion_ids": answer,
                "KL_completion_ids": other,
                "label": side == 0,
                "ref_logps": sums[i][side],
                "ref_KL_logps": other_sums[i][side],
            }
            for i in order
            for side, answer, other in (
                (0, pairs[i].chosen, others[i].chosen),
                (1, pairs[i].rejected, others[i].rejected),
            )
        ]
    )


def mismatched_pairs(pairs: Sequence[PairIds]) -> list[PairIds]:
    """Each question with the answers of the pair before it: kto estimates from answers
    that belong to other questions how far the model has moved altogether."""
    found = []
    for place, pair in enumerate(pairs):
        other = pairs[place - 1]
        room = max(len(pair.chosen), len(pair.rejected))
        found.append(
            PairIds(pair.prompt, other.chosen[:room], other.rejected[:room], 0)
        )
    return found


def _labelled(pair: PairIds) -> dict[str, list[int]]:
    row = {}
    for name, answer in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        ids = pair.prompt + answer
        row[f"{name}_input_ids"] = ids
        row[f"{name}_attention_mask"] = [1] * len(ids)
        row[f"{name}_labels"] = [IGNORED] * len(pair.prompt) + answer
    return row


def build_trainer(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    settings: AlignPreferences,
    arguments: Any,
    watcher: Watcher | None = None,
) -> Any:
    """The method's trainer over rows of `rows_of`."""
    if model.device.type == "cpu":
        chunked_logprob.TOKEN_CHUNK_SIZE = TOKENS_ON_A_CPU
    trainer = TRAINERS[settings.method](
        model=model,
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[watcher] if watcher else [],
    )
    trainer.remove_callback(PrinterCallback)
    # The losses are means: gradients of a step's parts are averaged, not summed.
    trainer.model_accepts_loss_kwargs = False
    if REFERENCE_ADAPTER in model.peft_config:
        model.delete_adapter(REFERENCE_ADAPTER)
    return trainer


def train(trainer: Any, ranks: Ranks = ALONE) -> float:
    """From the newest whole checkpoint to the end or to the stop; the mean loss."""
    trainer.join(ranks)
    resume = newest_checkpoint(Path(trainer.args.output_dir), ranks)
    result = trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return float(result.training_loss)


def at_once(pairs: int, longest: int, rows: int, device: str, tokens: int) -> int:
    """Pairs of one forward pass: the largest divisor of the batch that fits; a pair is
    two rows. `longest` in tokens, `rows` the size of the vocabulary, `tokens` what a
    pass of the model takes."""
    return micro_batch(pairs, 2 * longest, rows=rows, device=device, tokens=tokens)
