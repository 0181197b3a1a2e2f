"""What a run may be expected to reach, only where something like it has been measured.

Characters per token and bits per byte are ranges over the runs of bench/RESULTS.md: five
languages (Bengali, Tibetan, Kazakh, Swahili, Uyghur), two bases of 0.26 and 4.4 million
parameters, 0.3 and 1 megabyte of text. Nothing is said of a situation unlike these.
"""

from __future__ import annotations

from django.utils.translation import gettext as _

from webapp.jobs.planning import constants as c
from webapp.jobs.planning import vocabulary
from webapp.jobs.planning.situation import Situation

Range = tuple[float, float]
# Characters per token before -> after, about 1,400 new tokens (bench/RESULTS.md).
CUT_FINE: Range = (1.86, 3.12)  # from 0.38 to 0.56: letters cut into bytes
CUT_COARSE: Range = (3.34, 3.48)  # from 1.34 to 1.68
MEASURED_WITH = 1_400
MEASURED_NEW_TOKENS = (1_000, 4_096)
MEASURED_BYTES = (250_000, 5_000_000)
MEASURED_PARAMETERS = 20 * c.MILLION
# Bits per byte of the target after reading.
BITS_EXTENDED_FINE: Range = (1.06, 2.00)
BITS_EXTENDED_COARSE: Range = (2.29, 2.58)
BITS_KEPT_FINE: Range = (1.33, 3.75)
BITS_KEPT_COARSE: Range = (2.11, 2.60)


def expect(situation: Situation, *, extends: bool) -> tuple[dict[str, Range], str]:
    """Ranges by figure, and the sentence that says what they rest on."""
    known = situation.characters_per_token
    if known is None:
        return {}, ""
    fine = known < c.SLIVERS_CHARACTERS_PER_TOKEN
    expected: dict[str, Range] = {}
    if not extends:
        expected["characters_per_token"] = (round(known, 2), round(known, 2))
    elif _within(vocabulary.new_tokens(situation), MEASURED_NEW_TOKENS):
        low, high = CUT_FINE if fine else CUT_COARSE
        expected["characters_per_token"] = (max(known, low), max(known, high))
    small = situation.parameters < MEASURED_PARAMETERS
    if small and _within(situation.target_bytes, MEASURED_BYTES):
        table = {
            (True, True): BITS_EXTENDED_FINE,
            (True, False): BITS_EXTENDED_COARSE,
            (False, True): BITS_KEPT_FINE,
            (False, False): BITS_KEPT_COARSE,
        }
        expected["bits_per_byte"] = table[extends, fine]
    measured = any(low != high for low, high in expected.values())
    basis = _(
        "The range of what was measured on five languages with two small bases "
        "(bench/RESULTS.md); yours may lie outside."
    )
    return expected, basis if measured else ""


def shorter(situation: Situation, new_tokens: int) -> float:
    """Tokens of a text with so many new pieces, of one without; 1 where the base was not
    tried on the text.

    The middle of what was measured with MEASURED_WITH of them; with fewer the gain goes
    by the root of their number (0.43 of it with 256 in Swahili, 0.44 by the root).
    """
    known = situation.characters_per_token
    if known is None:
        return 1.0
    fine = known < c.SLIVERS_CHARACTERS_PER_TOKEN
    gain = max(0.0, sum(CUT_FINE if fine else CUT_COARSE) / 2 - known)
    return known / (known + gain * min(1.0, new_tokens / MEASURED_WITH) ** 0.5)


def _within(value: float, limits: tuple[int, int]) -> bool:
    return limits[0] <= value <= limits[1]
