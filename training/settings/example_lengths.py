"""CONTRACT: how long the pieces are that examples are made of. Standard library only.

The builders cut with these numbers; the plan predicts with the same numbers how long the
examples of a tuning will be (webapp/jobs/planning/examples.py).
"""

from __future__ import annotations

# Pieces of plain text are about as long as a chat, so that a share of the examples is
# nearly the same share of the text.
TEXT_PIECE_CHARACTERS = 300
# Of a document in characters: what is shown of a text that goes on, and what is answered;
# a title; what is shown of a text that is summed up, in what is shown otherwise.
SHOWN_CHARACTERS, ANSWERED_CHARACTERS = 400, 300
TITLE_CHARACTERS = 80
SHOWN_TO_NAME, SHOWN_TO_SUM_UP = 2 * SHOWN_CHARACTERS, 4 * SHOWN_CHARACTERS
