"""The failure a service raises when it refuses: a sentence for the person."""

from __future__ import annotations


class Refusal(Exception):
    """Something cannot be done; `sentence` says what, why and what to do instead.

    `field` names the form field it belongs to, where there is one.
    """

    def __init__(self, sentence: str, *, field: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.field = field
