"""How long the examples of learning to answer will be.

What the rows of the datasets are in tokens of the base's tokenizer is known
(`Situation.rows_of_examples`). A way of making examples puts one or several of them into
one; new tokens make what is in the language taught shorter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from training.spec import (
    SHOWN_TO_SUM_UP,
    TEXT_PIECE_CHARACTERS,
    AlignPreferences,
    StageSettings,
    TuneInstructions,
)
from webapp.jobs.planning import constants as c
from webapp.jobs.planning import expectations, vocabulary
from webapp.jobs.planning.situation import Situation

# The setting of each share of a tuning: rows of which role, and how many of them at most
# stand in one example. A translation with solved ones before it is counted apart.
ROWS_IN_ONE: dict[str, tuple[str, int]] = {
    "translation_share": ("parallel", 1),
    "dictionary_share": ("dictionary", 5),  # a word with all its meanings
    "alignment_share": ("parallel", 2),  # with gaps and without
    "cross_lingual_share": ("instructions", 2),  # asked in one, answered in another
    "taco_share": ("instructions", 3),
    "code_switch_share": ("instructions", 1),
}
# Shares of texts, which are cut at so many characters; and tokens beside these.
CHARACTERS_OF_ONE = {
    "document_share": (SHOWN_TO_SUM_UP, c.FORM_TOKENS),
    "raw_text_share": (TEXT_PIECE_CHARACTERS, c.TEXT_ENDS),
}


def as_long_as_known(
    situation: Situation, stages: Sequence[StageSettings]
) -> list[StageSettings]:
    """The stages, none of them with longer examples than the rows make.

    Rows that are only written during the run, and packed ones, may be as long as the
    settings allow.
    """
    shorter = _shorter(situation, stages)
    found: list[StageSettings] = []
    for stage in stages:
        longest = 0
        if isinstance(stage, TuneInstructions):
            known = not stage.writes and stage.packing == "off"
            longest = max(_examples(situation, stage, shorter), default=0) * known
        elif isinstance(stage, AlignPreferences):
            pairs = _lengths(situation, "preferences", shorter)
            longest = max((c.FORM_TOKENS + pair for pair in pairs), default=0)
        if 0 < longest < getattr(stage, "maximum_tokens", 0):
            longest = max(longest, c.FORM_TOKENS)
            stage = dataclasses.replace(stage, maximum_tokens=longest)
        found.append(stage)
    return found


def _examples(
    situation: Situation, stage: TuneInstructions, shorter: float
) -> Iterator[int]:
    """Tokens of the longest example that each way of making them can make; nothing where
    the lengths of the rows are not known."""
    if not situation.rows_of_examples:
        return
    for rows in _lengths(situation, "instructions", shorter):
        yield c.FORM_TOKENS + rows
    for share, (role, count) in ROWS_IN_ONE.items():
        if share == "translation_share" and stage.few_shot_share:
            count += stage.few_shot_examples
        if getattr(stage, share):
            for rows in _lengths(situation, role, shorter):
                yield c.FORM_TOKENS + count * rows
    for share, (characters, beside) in CHARACTERS_OF_ONE.items():
        if getattr(stage, share):
            per_token = situation.characters_per_token or 1.0
            yield beside + int(characters * shorter / per_token)


def _lengths(situation: Situation, role: str, shorter: float) -> list[int]:
    """Tokens of the longest row of each dataset of a role, as the model will cut it."""
    return [
        int(rows.longest * (1 - rows.taught + rows.taught * shorter))
        for rows in situation.rows_of_examples
        if rows.role == role
    ]


def _shorter(situation: Situation, stages: Sequence[StageSettings]) -> float:
    """Tokens of a text in the language taught after new tokens, of one before; 1 where
    none are added or too little is known."""
    added = [
        getattr(stage, "new_tokens", 0)
        for stage in stages
        if getattr(stage, "method", "keep") not in ("keep", "prune")
        and stage.stage == vocabulary.STAGE
    ]
    return expectations.shorter(situation, added[0]) if added else 1.0
