"""How the text is read."""

from __future__ import annotations

from django.utils.translation import gettext as _

from webapp.jobs.planning import constants as c
from webapp.jobs.planning import predictions
from webapp.jobs.planning.situation import Choice, Situation, by_size

STAGE = "continue_pretraining"


def derive(situation: Situation, *, minutes: float, method: str | None) -> list[Choice]:
    """Settings of continue_pretraining for its share of the minutes.

    `method` is what a recipe or a person has decided already, None where nothing.
    """
    method = method or _method(situation)
    return [
        Choice(
            f"{STAGE}.method",
            method,
            _("The base has %(parameters)s parameters; from one billion on LoRA.")
            % {"parameters": f"{situation.parameters:,}"},
            "Kunz 2024; BLOOM+1",
        ),
        Choice(
            f"{STAGE}.minutes",
            round(minutes, 2),
            _("Your time without measuring and saving, and without what tuning gets."),
        ),
        *_rates(situation, method),
        *_blocks(situation, minutes),
        _passes(situation),
        _replay(situation),
        Choice(
            f"{STAGE}.evaluations",
            evaluations(minutes),
            _("About one a minute: measuring takes time from learning."),
        ),
    ]


def learning_rate(parameters: int, method: str) -> float:
    """The peak, from the table by size."""
    full, lora, _tuning = by_size(c.LEARNING_RATES, parameters)
    return full if method == "full" else lora


def _rates(situation: Situation, method: str) -> list[Choice]:
    """The peak, and where the warm-up begins if the base's final rate is known."""
    limits = [row[0] for row in c.LEARNING_RATES]
    limit = next(limit for limit in limits if situation.parameters < limit)
    below = _("fewer than %(limit)s parameters") % {"limit": f"{limit:,.0f}"}
    row = below if limit != float("inf") else _("the largest models")
    peak = learning_rate(situation.parameters, method)
    final = situation.final_learning_rate
    choices = [
        Choice(
            f"{STAGE}.learning_rate",
            max(peak, final),
            _("The smaller a model, the higher; the table's row for %(row)s.")
            % {"row": row},
            c.LEARNING_RATE_SOURCE,
        )
    ]
    if final:
        reason = _(
            "The base's own training ended here: the warm-up climbs from it to the peak, "
            "since a new language is a strong change."
        )
        choices.append(
            Choice(
                f"{STAGE}.base_final_learning_rate",
                final,
                reason,
                "Ibrahim et al. 2024",
            )
        )
    return choices


def block_and_batch(situation: Situation, minutes: float) -> tuple[int, int]:
    """Tokens of a block and blocks a step; the batch shrinks where steps are few."""
    block, tokens = by_size(c.BATCHES, situation.parameters)
    if situation.target_tokens < c.SHORT_BLOCK_BELOW_TOKENS:
        block = min(block, c.SHORT_BLOCK)
    block = max(32, min(block, situation.positions))
    by_time = predictions.tokens_per_second(situation) * minutes * 60
    by_text = situation.target_tokens * most_passes(situation) or by_time
    most = min(by_time, by_text) / c.STEPS_AT_LEAST
    batch = int(max(4, min(tokens, most) // block))
    return block, batch


def evaluations(minutes: float) -> int:
    """Between 3 and 40."""
    return int(max(3, min(40, round(minutes))))


def _method(situation: Situation) -> str:
    return "lora" if situation.parameters >= c.LORA_FROM_PARAMETERS else "full"


def _blocks(situation: Situation, minutes: float) -> list[Choice]:
    block, batch = block_and_batch(situation, minutes)
    return [
        Choice(
            f"{STAGE}.block_tokens",
            block,
            _("By the size of model and corpus, and never longer than the base reads."),
            "lowres-cve; SambaLingo",
        ),
        Choice(
            f"{STAGE}.batch_blocks",
            batch,
            _(
                "%(tokens)s tokens a step: at most %(most)s for a base of this size, and "
                "what minutes or text give, over %(steps)s steps."
            )
            % {
                "tokens": f"{block * batch:,}",
                "most": f"{by_size(c.BATCHES, situation.parameters)[1]:,}",
                "steps": c.STEPS_AT_LEAST,
            },
        ),
    ]


def most_passes(situation: Situation) -> float:
    """The most passes over the text, by how many bytes there are for each weight."""
    return by_size(c.PASSES, situation.target_bytes / situation.parameters)[0]


def readable_tokens(situation: Situation) -> int:
    """Tokens of the target that can be read: what the text holds over the passes, and
    what the minutes suffice for."""
    seconds = situation.minutes * 60 * c.PRETRAINING_SHARE * (1 - c.REPLAY_SHARE)
    by_time = predictions.tokens_per_second(situation) * seconds
    return int(min(situation.target_tokens * most_passes(situation), by_time))


def _passes(situation: Situation) -> Choice:
    return Choice(
        f"{STAGE}.epochs",
        most_passes(situation),
        _("A limit: more passes over so little text are learning by heart."),
        c.PASSES_SOURCE,
    )


def _replay(situation: Situation) -> Choice:
    if situation.protected_bytes:
        return Choice(
            f"{STAGE}.replay_share",
            c.REPLAY_SHARE,
            _("A quarter of what it reads is protected text, against forgetting."),
            "Ibrahim et al. 2024; SambaLingo",
        )
    return Choice(
        f"{STAGE}.replay_share", 0.0, _("There is no text of a protected language.")
    )
