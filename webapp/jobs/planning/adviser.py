"""Which recipe to begin with, and why: one pure function of the situation.

    advise(situation) -> Advice(recipe, choices, reasons, warnings, expected)

The order of the questions: is there text at all; can the tokenizer spell the language; do
new pieces pay; how is the model trained; what else is there (pairs, related languages, an
instruct sibling). Every reason carries its source; docs/recipes.md has the same as a table.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from webapp.core.languages import describe
from webapp.jobs.planning import constants as c
from webapp.jobs.planning import (
    expectations,
    pretraining,
    rows_advice,
    tokenizer_advice,
)
from webapp.jobs.planning.needs import missing
from webapp.jobs.planning.situation import Choice, Reason, Situation
from webapp.recipes.catalogue import FIRST, launchable

# Recipes that the adviser may name, by what they are for.
KEEP = "keep-tokenizer"
LORA, LORA_KEEP = "lora", "lora-keep"
QUANTISED = "chinese-mixtral"
ANSWER_ONLY = "instructions-only"
TRANSLATE = "alma"
FAMILY = "uralic"
ROMANISE = "romanization"
SIBLING = "chat-vector"
PREFER = "sambalingo"
NEW_ROWS = "new-rows-only"
LATIN = "Latn"


@dataclass(frozen=True)
class Advice:
    """A recipe, what is set beside it, why, what to beware of, what to expect.

    `expected` holds ranges (low, high) for which there is a measured basis:
    `characters_per_token` and `bits_per_byte`; a figure without a basis is not there.
    """

    recipe: str
    reasons: list[Reason]
    choices: dict[str, list[Choice]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    expected: dict[str, tuple[float, float]] = field(default_factory=dict)
    basis: str = ""


def advise(situation: Situation) -> Advice:
    """The recipe to begin with; always one that can be launched."""
    if situation.target_characters < c.TOO_LITTLE_CHARACTERS:
        return _without_text(situation)
    extends, why = tokenizer_advice.decide(situation)
    name, reasons = _recipe(situation, extends)
    warnings = _warnings(situation, name)
    choices = {}
    stages = {stage.name: stage.settings for stage in launchable()[name].stages}
    reasons.append(why)
    if "extend_vocabulary" in stages and name != ROMANISE:
        choices["extend_vocabulary"] = tokenizer_advice.choices(situation, extends, why)
        if extends:
            rows = rows_advice.decide(situation, stages)
            choices["extend_vocabulary"] += rows.start
            choices |= {rows_advice.TEACHING: rows.teaching} if rows.teaching else {}
            reasons += rows.reasons
    expected, basis = expectations.expect(situation, extends=extends)
    return Advice(name, reasons, choices, warnings, expected, basis)


def _without_text(situation: Situation) -> Advice:
    if situation.examples and situation.goal != "write":
        reason = Reason(
            _(
                "There is no plain text to read, but there are %(n)s examples to learn "
                "answering from. Text would teach the language itself."
            )
            % {"n": f"{situation.examples:,}"},
            "Bactrian-X; ALMA: a language is learned from text, answering from few pairs",
        )
        return Advice(ANSWER_ONLY, [reason], warnings=_warnings(situation, ANSWER_ONLY))
    reason = Reason(
        _("There is too little text to learn from. Add plain text in the language.")
    )
    return Advice(FIRST, [reason], warnings=[reason.sentence])


def _recipe(situation: Situation, extends: bool) -> tuple[str, list[Reason]]:
    """The first of the special cases that fits, else the usual one by size."""
    for name, reason in _special(situation, extends):
        recipe = launchable().get(name)
        if recipe and not missing(situation, recipe):
            return name, [reason]
    return _by_size(situation, extends)


def _special(situation: Situation, extends: bool) -> list[tuple[str, Reason]]:
    """Recipes for more than text, the most telling first."""
    found = []
    if cannot_spell(situation):
        found.append((ROMANISE, _reason_romanise()))
    answers_already = bool(situation.passport.get("chat_template"))
    reads = situation.characters_per_token and rows_advice.has_much_to_teach(situation)
    if situation.faster and extends and answers_already and reads:
        found.append((NEW_ROWS, rows_advice.reason_to_leave_the_body()))
    if _adapts_low_rank(situation) and _fits_only_quantised(situation):
        found.append((QUANTISED, _reason_quantised()))
    if situation.goal == "translate" and situation.parallel_rows:
        found.append((TRANSLATE, _reason_translate(situation)))
    wants_answers = situation.goal == "answer"
    if wants_answers and "instruct" in situation.has and not situation.instruction_rows:
        found.append((SIBLING, _reason_sibling()))
    small = situation.target_bytes < c.SMALL_LANGUAGE_BYTES
    if small and situation.related_bytes > situation.target_bytes:
        found.append((FAMILY, _reason_family()))
    enough = situation.preference_rows >= c.ENOUGH_PREFERENCES
    if wants_answers and enough and situation.examples and extends:
        found.append((PREFER, _reason_prefer(situation)))
    return found


def _by_size(situation: Situation, extends: bool) -> tuple[str, list[Reason]]:
    if _adapts_low_rank(situation):
        sentence = _(
            "The base has %(n)s parameters: low-rank additions learn nearly as much as "
            "training every weight, forget less, and need a fifth of the memory."
        )
        if situation.passport.get("chat_template"):
            sentence = _(
                "The base has been taught to answer already: low-rank additions change "
                "it least. It has %(n)s parameters."
            )
        words = {"n": f"{situation.parameters:,}"}
        reason = Reason(sentence % words, "Biderman et al. 2024; BLOOM+1; LLaMAntino")
        name = LORA if extends else LORA_KEEP
        return (name if name in launchable() else LORA), [reason]
    reason = Reason(
        _(
            "The base has %(n)s parameters: small models learn most when all are trained."
        )
        % {"n": f"{situation.parameters:,}"},
        "Kunz 2024; BLOOM+1: below one to three billion",
    )
    return (FIRST if extends else KEEP), [reason]


def _adapts_low_rank(situation: Situation) -> bool:
    """From a billion parameters on where memory is short, and for instruct bases."""
    if situation.parameters < c.LORA_FROM_PARAMETERS:
        large_enough = situation.parameters >= c.LORA_INSTRUCT_FROM_PARAMETERS
        return bool(situation.passport.get("chat_template")) and large_enough
    enough_text = pretraining.readable_tokens(situation) >= c.SMALL_BUDGET_TOKENS
    return not (enough_text and _fits_whole(situation))


def _fits_whole(situation: Situation) -> bool:
    """Whether one known GPU holds weights, gradients and moments."""
    needed = situation.parameters * c.FULL_BYTES_PER_PARAMETER
    return any(
        (device.get("memory_bytes") or 0) > needed
        for device in situation.devices
        if device.get("kind") == "cuda"
    )


def _fits_only_quantised(situation: Situation) -> bool:
    """Whether the largest known GPU is too small for the weights in 16 bits."""
    memories = [
        device.get("memory_bytes") or 0
        for device in situation.devices
        if device.get("kind") == "cuda"
    ]
    needed = situation.parameters * c.LORA_BYTES_PER_PARAMETER
    return bool(memories) and 0 < max(memories) < needed


def cannot_spell(situation: Situation) -> bool:
    """A tokenizer without byte fallback before a script that is not Latin's."""
    known = situation.passport.get("byte_fallback", True)
    script = describe(situation.language).script
    return not known and bool(script) and script != LATIN


def _reason_romanise() -> Reason:
    return Reason(
        _(
            "The tokenizer has no byte fallback: letters of this script would be lost. "
            "Written in Latin letters, with a record to write it back, they are not."
        ),
        "Purkayastha et al. 2023 (UROMAN)",
    )


def _reason_quantised() -> Reason:
    return Reason(
        _("The weights do not fit into the GPU in 16 bits; in 4 bits they do."),
        "QLoRA, Dettmers et al. 2023; Chinese-Mixtral",
    )


def _reason_translate(situation: Situation) -> Reason:
    return Reason(
        _(
            "You want it to translate, and there are %(n)s pairs: plain text first, "
            "then a small set of good pairs, is the recipe that gained most."
        )
        % {"n": f"{situation.parallel_rows:,}"},
        "ALMA, Xu et al. 2024: +12 BLEU over zero-shot",
    )


def _reason_sibling() -> Reason:
    return Reason(
        _(
            "There are no questions with answers, but the base has a sibling that has "
            "learned to answer: what it learned is added back by arithmetic."
        ),
        "Huang et al. 2024 (chat vector); RE-Adapt 2024",
    )


def _reason_family() -> Reason:
    return Reason(
        _("There is little text, and more of related languages, which helps it along."),
        "Downey et al. 2024 (Uralic): related languages jointly, small ones up-sampled",
    )


def _reason_prefer(situation: Situation) -> Reason:
    return Reason(
        _(
            "There are %(n)s marked answers, enough to learn preferences after answering."
        )
        % {"n": f"{situation.preference_rows:,}"},
        "SambaLingo 2024; that a thousand are enough is a judgement",
    )


def _warnings(situation: Situation, name: str) -> list[str]:
    """What the plan's own cautions do not say."""
    sentences = []
    if cannot_spell(situation) and name != ROMANISE:
        sentences.append(
            _(
                "The base's tokenizer cannot write this script. Choose a base with byte "
                "fallback; nothing learned on this one can be read back."
            )
        )
    if 0 < situation.preference_rows < c.ENOUGH_PREFERENCES:
        sentences.append(
            _(
                "There are only %(n)s marked answers, and they are not used: below about a "
                "thousand they do more as answers to learn from. Add the better ones as "
                "questions with answers."
            )
            % {"n": situation.preference_rows}
        )
    if situation.passport.get("chat_template") and name not in (ANSWER_ONLY, SIBLING):
        sentences.append(
            _(
                "The base answers already. Reading raw text makes it forget some of "
                "that; if its raw sibling is at hand, teach that one instead and add the "
                "chat vector."
            )
        )
    return sentences
