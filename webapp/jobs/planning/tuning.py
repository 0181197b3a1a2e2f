"""How answering is learned."""

from __future__ import annotations

from django.utils.translation import gettext as _

from webapp.jobs.planning import constants as c
from webapp.jobs.planning.situation import Choice, Situation, by_size

STAGE = "tune_instructions"


def derive(situation: Situation, *, minutes: float) -> list[Choice]:
    """Settings of tune_instructions for its share of the minutes."""
    epochs, rank, plain = by_size(c.TUNING, situation.parameters)
    return [
        Choice(
            f"{STAGE}.minutes",
            round(minutes, 2),
            _("What reading leaves of your time; few examples need little."),
        ),
        Choice(
            f"{STAGE}.epochs",
            epochs,
            _("Small models need more passes over few examples."),
            "ALMA, ruadapt: 1 to 3; own measurements below 20 million parameters",
        ),
        Choice(
            f"{STAGE}.learning_rate",
            by_size(c.LEARNING_RATES, situation.parameters)[2],
            _("For low-rank additions; read from a table by size."),
            c.LEARNING_RATE_SOURCE,
        ),
        Choice(
            f"{STAGE}.lora_rank",
            rank,
            _("Wide additions for all linear layers."),
            "Biderman et al. 2024",
        ),
        Choice(
            f"{STAGE}.lora_alpha", 2 * rank, _("Twice the rank."), "Bactrian-X; ruadapt"
        ),
        Choice(
            f"{STAGE}.maximum_tokens",
            min(512, situation.positions),
            _("Never longer than the base reads."),
        ),
        _translations(situation),
        Choice(
            f"{STAGE}.raw_text_share",
            plain,
            _("Plain text of both languages beside the answers, against forgetting."),
            "Stap et al. 2024; own measurements below 20 million parameters",
        ),
    ]


def _translations(situation: Situation) -> Choice:
    name = f"{STAGE}.translation_share"
    if not situation.parallel_rows:
        return Choice(name, 0.0, _("There are no translated sentences."))
    if not situation.instruction_rows:
        return Choice(name, 1.0, _("There are only translated sentences."))
    if situation.goal == "translate":
        return Choice(
            name,
            c.TRANSLATION_SHARE_TO_TRANSLATE,
            _("You want it to translate."),
            "ALMA",
        )
    return Choice(
        name,
        c.TRANSLATION_SHARE,
        _("Translations both ways help answers in the new language."),
        "x-LLaMA; CrossIn",
    )
