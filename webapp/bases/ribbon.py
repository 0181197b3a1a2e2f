"""A text cut by a tokenizer, as templates/partials/ribbon.html shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from webapp.bases.passport import cut
from webapp.core.errors import Refusal

# Above so many characters between spaces, spaces do not part words (Thai, Tibetan,
# Chinese); Finnish and German, full of long words, have about 9 and 7.
LONGEST_WORDS = 20
# Slivers drawn in one patch; static/css/ribbon.css has a class for each number.
MOST_SLIVERS = 6


@dataclass(frozen=True)
class Ribbon:
    """`patches` is what is drawn: {"text", "kind"}; `pieces` counts the tokens.

    A character that is cut into bytes is one patch with as many slivers as it has
    pieces, because letters that join and marks must not be torn apart on the page.
    """

    patches: list[dict[str, str]]
    pieces: int
    slivers: int  # pieces that are only bytes of a character
    unknown: bool  # whether the tokenizer gives some of the text up
    words: int | None  # None where spaces do not part words


def make_ribbon(folder: str, text: str, *, known: int | None = None) -> Ribbon:
    """Cut a text with a folder's tokenizer; raises Refusal where it cannot be read.

    Pieces whose number is `known` or above are new ones, learned after the base.
    """
    try:
        pieces = cut(folder, text)
    except Exception as problem:  # tokenizers raises bare Exception for what it refuses
        raise Refusal(
            _("The tokenizer cannot be read from its folder: %(problem)s")
            % {"problem": problem}
        ) from problem
    return Ribbon(
        patches=_patches(pieces, known),
        pieces=len(pieces),
        slivers=sum(piece["bytes"] for piece in pieces),
        unknown=any(piece["unknown"] for piece in pieces),
        words=count_words(text),
    )


def count_words(text: str) -> int | None:
    """Words between spaces; None where the language does not part words so."""
    words = len(text.split())
    return words if words and len(text) / words <= LONGEST_WORDS else None


def _patches(pieces: list[dict[str, Any]], known: int | None) -> list[dict[str, str]]:
    patches: list[list[dict[str, Any]]] = []
    for piece in pieces:
        if piece["text"]:
            patches.append([piece])
        elif piece["bytes"] and patches:
            patches[-1].append(piece)
    return [
        {"text": "".join(p["text"] for p in patch), "kind": _kind(patch, known)}
        for patch in patches
    ]


def _kind(patch: list[dict[str, Any]], known: int | None) -> str:
    if any(piece["unknown"] for piece in patch):
        return "unknown"
    if patch[0]["bytes"] and not patch[0]["text"].isspace():
        return f"split-{max(2, min(MOST_SLIVERS, len(patch)))}"
    if known is not None and patch[0]["id"] >= known:
        return "new"
    return ""
