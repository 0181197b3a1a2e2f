"""Keep the tokenizer or extend it: what the evidence says for a situation.

Extending is first an efficiency feature. At equal text it costs quality on small budgets
(GlossAPI: 0.490 against 0.531 bits per character after 2 billion tokens; Yamaguchi et al.
2024; measured here on Swahili: 2.111 against 2.297), unless letters are cut into bytes,
where it wins by far (measured here: Tibetan 1.155 against 3.143), but for a base that
writes the language already, byte by byte (Kazakh 1.594 without, 1.900 with new pieces).
"""

from __future__ import annotations

from django.utils.translation import gettext as _

from webapp.jobs.planning import constants as c
from webapp.jobs.planning import pretraining, vocabulary
from webapp.jobs.planning.situation import Choice, Reason, Situation

STAGE = vocabulary.STAGE
EVIDENCE = "GlossAPI 2026; Yamaguchi et al. 2024; Chinese-Mixtral; bench/RESULTS.md"


def decide(situation: Situation) -> tuple[bool, Reason]:
    """Whether new pieces are added, and why."""
    known = situation.characters_per_token
    good = vocabulary.good_characters_per_token(situation.language)
    if known is None:
        sentence = _(
            "How the base cuts your text is not known yet; new pieces usually make text "
            "of a new language much shorter."
        )
        return True, Reason(sentence, "Purason et al. 2025")
    if known >= good:
        sentence = _(
            "The tokenizer is kept: the base already writes %(known).2f characters with "
            "one token of your text; from %(good).2f on new pieces gain little."
        )
        words = {"known": known, "good": good}
        return False, Reason(sentence % words, "Yamaguchi et al. 2024; GlossAPI 2026")
    if vocabulary.cuts_letters(situation) and not situation.knows:
        sentence = _(
            "New pieces are added: the base cuts letters of your text into bytes "
            "(%(known).2f characters a token). There they pay at once: measured on "
            "Tibetan, 1.155 bits per byte with them and 3.143 without."
        )
        return True, Reason(sentence % {"known": known}, "bench/RESULTS.md")
    readable = pretraining.readable_tokens(situation)
    if readable >= c.SMALL_BUDGET_TOKENS:
        sentence = _(
            "New pieces are added: there are text and time for %(readable)s tokens, from "
            "about half a billion on the new rows are learned well enough."
        )
        words = {"readable": f"{readable:,}"}
        return True, Reason(sentence % words, "Swallow; ChocoLlama; SambaLingo")
    if situation.faster:
        return True, _reason_faster(known)
    if vocabulary.cuts_letters(situation):
        return False, _reason_known(known)
    sentence = _(
        "The tokenizer is kept: the base spells your text (%(known).2f characters a "
        "token), and below about half a billion tokens new pieces cost quality: measured "
        "on Swahili, 2.111 bits per byte without and 2.297 with them; on a second base "
        "they were equal (2.600 and 2.580). With them a token holds about twice the "
        "text; say that speed matters more where it does."
    )
    return False, Reason(sentence % {"known": known}, EVIDENCE)


def choices(situation: Situation, extends: bool, why: Reason) -> list[Choice]:
    """The decision as settings of extend_vocabulary."""
    if not extends:
        return [
            Choice(f"{STAGE}.method", "keep", why.sentence, why.source),
            Choice(f"{STAGE}.new_tokens", 0, _("The tokenizer is kept.")),
        ]
    derived = vocabulary.derive_extension(situation)
    return [
        Choice(f"{STAGE}.method", "continued_bpe", why.sentence, why.source),
        *derived,
    ]


def _reason_known(known: float) -> Reason:
    sentence = _(
        "The tokenizer is kept: the base writes the language already, though it cuts "
        "letters into bytes (%(known).2f characters a token), and new rows begin without "
        "that: measured on Kazakh after long reading, 1.59 bits per byte without new "
        "pieces and 1.90 with them after the same text. With them a token holds four "
        "times the text; say that speed matters more where it does."
    )
    return Reason(sentence % {"known": known}, "bench/RESULTS.md")


def _reason_faster(known: float) -> Reason:
    sentence = _(
        "New pieces are added because speed matters more to you: the base writes "
        "%(known).2f characters with one token. Measured on Swahili, a token then holds "
        "two to three times the text, for 9 to 21 %% more bits per byte after the same "
        "text."
    )
    return Reason(sentence % {"known": known}, "bench/RESULTS.md")
