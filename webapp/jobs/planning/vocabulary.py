"""Whether the tokenizer gets new pieces, and how many."""

from __future__ import annotations

from django.utils.translation import gettext as _

from webapp.core.languages import describe
from webapp.jobs.planning import constants as c
from webapp.jobs.planning.situation import Choice, Situation

STAGE = "extend_vocabulary"


def derive(situation: Situation) -> list[Choice]:
    """extend_vocabulary.method and .new_tokens."""
    known = situation.characters_per_token
    good = good_characters_per_token(situation.language)
    if known is not None and known >= good:
        reason = _(
            "The base already writes %(known).2f characters with one token of your "
            "text; from %(good).2f on new pieces gain little."
        ) % {"known": known, "good": good}
        keep = Choice(f"{STAGE}.method", "keep", reason, "Yamaguchi 2024; GlossAPI")
        return [keep, Choice(f"{STAGE}.new_tokens", 0, _("The tokenizer is kept."))]
    method = (
        _(
            "The base writes only %(known).2f characters with one token of your text; "
            "new pieces make it shorter."
        )
        % {"known": known}
        if known is not None
        else _("New pieces usually make text of a new language much shorter.")
    )
    return [
        Choice(f"{STAGE}.method", "continued_bpe", method, "Purason et al. 2025"),
        *derive_extension(situation),
    ]


def derive_extension(situation: Situation) -> list[Choice]:
    """extend_vocabulary.new_tokens where the tokenizer is extended."""
    return [
        Choice(
            f"{STAGE}.new_tokens",
            new_tokens(situation),
            _(
                "One piece for every %(per)s characters of text, between %(low)s and "
                "%(high)s."
            )
            % {
                "per": c.CHARACTERS_PER_NEW_TOKEN,
                "low": c.NEW_TOKENS_AT_LEAST,
                "high": _most(situation),
            },
            "Yamaguchi 2024; Purason et al. 2025",
        ),
    ]


def good_characters_per_token(language: str) -> float:
    """Where a tokenizer is good enough, by the language's script."""
    dense = describe(language).script in c.DENSE_SCRIPTS
    return c.GOOD_CHARACTERS_PER_TOKEN_DENSE if dense else c.GOOD_CHARACTERS_PER_TOKEN


def cuts_letters(situation: Situation) -> bool:
    """Whether the base's tokenizer cuts letters into bytes (in dense scripts: gives less
    than half of a good one); False where it was not tried."""
    known = situation.characters_per_token
    good = good_characters_per_token(situation.language)
    return known is not None and known < min(c.SLIVERS_CHARACTERS_PER_TOKEN, good / 2)


def new_tokens(situation: Situation) -> int:
    """characters / 700, a multiple of 64 within the limits."""
    wanted = situation.target_characters // c.CHARACTERS_PER_NEW_TOKEN // 64 * 64
    return max(c.NEW_TOKENS_AT_LEAST, min(wanted, _most(situation)))


def _most(situation: Situation) -> int:
    small = situation.target_tokens < c.SMALL_BUDGET_TOKENS
    return c.NEW_TOKENS_SMALL_BUDGET if small else c.NEW_TOKENS_LARGE_BUDGET
