"""What could go wrong, said before launch."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from training.spec import AlignPreferences, StageSettings
from webapp.jobs.planning import constants as c
from webapp.jobs.planning import predictions, rows_advice, vocabulary
from webapp.jobs.planning.situation import Situation


def warn(situation: Situation, stages: Sequence[StageSettings]) -> list[str]:
    """Sentences, the weightiest first; none where nothing is known to be wrong."""
    settings = {stage.stage: stage for stage in stages}
    sentences = [
        *_about_memory(situation, stages),
        *_about_base(situation),
        *_about_text(situation, settings, stages),
        *_about_answers(situation, settings),
        *_about_preferences(situation, stages),
    ]
    if predictions.overhead_seconds(situation) > situation.minutes * 30:
        sentences.append(
            _(
                "Half of the time or more goes into loading, measuring and saving. "
                "More minutes would be spent almost wholly on learning."
            )
        )
    return sentences


def too_large(situation: Situation, stages: Sequence[StageSettings]) -> bool:
    """Whether the predicted memory is more than any known device has."""
    known = [d["memory_bytes"] for d in situation.devices if d.get("memory_bytes")]
    needed = predictions.predict(situation, stages)["memory_bytes"]
    return bool(known) and needed > max(known)


def _about_memory(situation: Situation, stages: Sequence[StageSettings]) -> list[str]:
    if not too_large(situation, stages):
        return []
    needed = predictions.predict(situation, stages)["memory_bytes"] / c.BILLION
    return [
        _(
            "It will probably need %(needed).1f GB of memory, more than the largest "
            "device has. Choose LoRA, shorter blocks or a smaller base."
        )
        % {"needed": needed}
    ]


def _about_base(situation: Situation) -> list[str]:
    if situation.passport.get("byte_fallback", True):
        return []
    return [
        _(
            "The base's tokenizer has no byte fallback: letters it does not know are "
            "lost. Choose a base with byte fallback if the script is new to it."
        )
    ]


def _about_text(
    situation: Situation,
    settings: dict[str, StageSettings],
    stages: Sequence[StageSettings],
) -> list[str]:
    if "continue_pretraining" not in settings:
        return rows_advice.warn(situation, settings)
    sentences = []
    if situation.target_characters < c.TINY_TEXT_CHARACTERS:
        sentences.append(
            _(
                "There are only %(characters)s characters of text. The model will "
                "learn this text rather than the language; a million is a good start."
            )
            % {"characters": f"{situation.target_characters:,}"}
        )
    if _extension_may_cost(situation, settings):
        sentences.append(
            _(
                "Below about half a billion tokens of text, new pieces can cost "
                "quality: the model reads more in the same time but knows each less. "
                "Run the control that keeps the tokenizer beside it and compare."
            )
        )
    sentences += rows_advice.warn(situation, settings)
    sentences += _about_passes(situation, predictions.passes(situation, stages))
    if not situation.protected_bytes:
        sentences.append(
            _(
                "No text of a protected language is given: the model will forget much "
                "of what it knew. Add a dataset in that language to protect it."
            )
        )
    return sentences


def _about_passes(situation: Situation, passes: float) -> list[str]:
    if passes > c.MANY_PASSES:
        sentence = _(
            "The text will be read about %(passes).0f times. That is partly learning by "
            "heart; more text helps more than more time."
        )
        return [sentence % {"passes": passes}]
    if 0 < passes < c.LESS_THAN_A_PASS:
        sentence = _(
            "There is time to read about %(percent).0f %% of your text; to read it once "
            "takes about %(minutes)s minutes."
        )
        minutes = f"{situation.minutes / passes:,.0f}"
        return [sentence % {"percent": max(1, 100 * passes), "minutes": minutes}]
    return []


def _extension_may_cost(
    situation: Situation, settings: dict[str, StageSettings]
) -> bool:
    """New pieces on little text, over a tokenizer that can spell the language."""
    method = getattr(settings.get("extend_vocabulary"), "method", "keep")
    few = situation.target_tokens < c.SMALL_BUDGET_TOKENS
    return method != "keep" and few and not vocabulary.cuts_letters(situation)


def _about_answers(
    situation: Situation, settings: dict[str, StageSettings]
) -> list[str]:
    if situation.goal == "write":
        return []
    if "tune_instructions" not in settings:
        return [
            _(
                "There are no questions with answers and no translations: the model "
                "will continue text, but it will not learn to answer."
            )
        ]
    invented = settings["tune_instructions"].invented_conversations
    if situation.examples + invented < c.ENOUGH_EXAMPLES:
        return [
            ngettext(
                "There is %(examples)s example to learn answering from; about a "
                "thousand good ones are enough for plain answers.",
                "There are %(examples)s examples to learn answering from; about a "
                "thousand good ones are enough for plain answers.",
                situation.examples + invented,
            )
            % {"examples": situation.examples + invented}
        ]
    return []


def _about_preferences(
    situation: Situation, stages: Sequence[StageSettings]
) -> list[str]:
    """That learning to prefer will be left out, as the stage does with so few pairs."""
    pairs = situation.preference_rows
    sentence = _(
        "“Learn to prefer” will be left out: there are %(pairs)s marked answers, and it "
        "wants %(least)s. So few do more as answers to learn from: add the better ones as "
        "questions with answers, or set “Go on with fewer pairs” to yes."
    )
    return [
        sentence % {"pairs": f"{pairs:,}", "least": f"{stage.least_pairs:,}"}
        for stage in stages
        if isinstance(stage, AlignPreferences)
        and stage.insist != "yes"
        and pairs < stage.least_pairs
    ]
