"""CONTRACT: how the setting `mix_stages` of continue_pretraining is read.

Standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.errors import SpecInvalid

if TYPE_CHECKING:
    from training.settings.continue_pretraining import ContinuePretraining

# The sources of a mix, in the order in which they are numbered.
ROLES = ("target", "protected", "related", "parallel", "interlinear", "instructions")
# Target and related languages together, divided by size.
TEXT = "text"


EXAMPLE = "0: text 0.8, parallel 0.2; 0.5: text 1"
SETTING, LABEL = "continue_pretraining.mix_stages", "Stages of the mix"


def _unreadable(words: str) -> SpecInvalid:
    return SpecInvalid(SETTING, f"“{LABEL}” ({SETTING}): {words}.")


def read_stages(text: str) -> tuple[tuple[float, dict[str, float]], ...]:
    """Stages of a mix: "0: text 0.9, protected 0.1; 0.6: interlinear 1".

    Each begins at a part of the way (the first at 0) and gives every role's share;
    shares are made to add up to 1. Raises SpecInvalid with what is wrong.
    """
    stages: list[tuple[float, dict[str, float]]] = []
    for part in filter(str.strip, text.split(";")):
        start, colon, shares = part.partition(":")
        roles: dict[str, float] = {}
        try:
            begins = float(start)
            for item in filter(str.strip, shares.split(",")):
                role, number = item.split()
                roles[role] = float(number)
        except ValueError:
            colon = ""
        if not colon:
            raise _unreadable(f"it cannot be read at {part!r}; write {EXAMPLE}")
        for role, share in roles.items():
            if role not in (*ROLES, TEXT):
                names = ", ".join((TEXT, *ROLES))
                raise _unreadable(f"there is no source {role!r}; there are {names}")
            if not 0 <= share <= 1:
                raise _unreadable(f"give {role} a share from 0 to 1, not {share:g}")
        if not sum(roles.values()) > 0:
            raise _unreadable(f"say what is read from {begins:g} on")
        total = sum(roles.values())
        stages.append((begins, {role: roles[role] / total for role in roles}))
    starts = [start for start, _ in stages]
    rising = all(0 <= start < 1 for start in starts) and starts == sorted(set(starts))
    if starts and (starts[0] != 0 or not rising):
        raise _unreadable("begin at 0 and go up, below 1")
    return tuple(stages)


def refuse_mix(settings: ContinuePretraining) -> None:
    """Raise SpecInvalid for a mix that says nothing or adds up to more than there is."""
    if settings.curriculum == "staged":
        if not read_stages(settings.mix_stages):
            raise settings.unfit(
                "mix_stages", f"say what is read when, for example {EXAMPLE}"
            )
        return
    names = "replay", "parallel", "interlinear", "instruction"
    total = sum(getattr(settings, f"{name}_share") for name in names)
    if total > 1 + 1e-9:
        raise settings.unfit(
            "replay_share",
            f"it and the shares of translations, interlinear text and instructions add up "
            f"to {total:g}; they can be 1 at most",
        )
