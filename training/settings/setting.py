"""CONTRACT: a setting that describes itself, and how values are checked against it.

Standard library only.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from training.errors import SpecInvalid
from training.settings.needs import Needs

LONGEST_VALUE = 80  # characters of a refused value that are repeated

# Under which values of another setting something has an effect.
Acts = tuple[Any, ...] | float


def setting(
    default: Any,
    label: str,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    source: str = "",
    labels: Mapping[str, str] | None = None,
    needs: Mapping[str, Needs] | None = None,
    acts: Mapping[str, Acts] | None = None,
    group: str = "",
) -> Any:
    """A dataclass field that describes itself.

    `low` and `high` are inclusive; `choices` are the allowed strings; `source` says where
    the default comes from; `labels` says in a line what a choice does, `needs` what it
    needs of the job (training/settings/needs.py); settings of one `group` stand together.
    `acts` names other settings of the stage without which this one does nothing: a tuple
    of their values, or a number that they must be above; one of them is enough.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "label": label,
            "help": help,
            "unit": unit,
            "low": low,
            "high": high,
            "choices": choices,
            "source": source,
            "labels": dict(labels or {}),
            "needs": dict(needs or {}),
            "acts": dict(acts or {}),
            "group": group,
        },
    )


@dataclass(frozen=True)
class StageSettings:
    """Base of all stage settings; `stage` is the stage's name."""

    stage: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(self.stage, field, getattr(self, field.name))

    def needs(self) -> Iterator[tuple[dataclasses.Field[Any], str, Needs]]:
        """(field, its value, what that needs) of every choice that needs something and
        has an effect."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            needs = field.metadata["needs"].get(value)
            if needs and not self.no_effect(field):
                yield field, value, needs

    def unfit(self, name: str, words: str) -> SpecInvalid:
        """That one of the settings cannot be as it is, to be raised."""
        return unfit(self.stage, type(self), name, words)

    def no_effect(self, field: dataclasses.Field[Any]) -> str:
        """Why a setting does nothing beside the values of the others; "" where it acts."""
        acts: dict[str, Acts] = field.metadata["acts"]
        if not acts or any(_meets(getattr(self, n), at) for n, at in acts.items()):
            return ""
        known = {other.name: other for other in dataclasses.fields(self)}
        wanted = " or ".join(
            f"“{known[name].metadata['label']}” is {_told(at)}"
            for name, at in acts.items()
        )
        now = " and ".join(f"{getattr(self, name)}" for name in acts)
        return f"it acts where {wanted}, and that is {now}"

    def idle(self) -> Iterator[tuple[dataclasses.Field[Any], str]]:
        """(field, why) of every setting that asks for something and does nothing: one
        that was changed, and not to nothing (0 new tokens where the tokenizer is kept)."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value and value != field.default:
                if why := self.no_effect(field):
                    yield field, why


def _meets(value: Any, acts: Acts) -> bool:
    return value in acts if isinstance(acts, tuple) else value > acts


def _told(acts: Acts) -> str:
    if isinstance(acts, tuple):
        return " or ".join(map(str, acts))
    return f"above {acts:g}"


def build(kind: type, place: str, values: dict[str, Any]) -> Any:
    """An object of a dataclass of settings, every value checked; raises SpecInvalid."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    checked = {}
    for name, value in values.items():
        if name not in fields:
            raise unknown(place, name, fields)
        checked[name] = check(place, fields[name], value)
    return kind(**checked)


def unknown(place: str, name: str, known: Iterable[str]) -> SpecInvalid:
    """That a stage has no setting of this name, and which one may be meant."""
    near = difflib.get_close_matches(name, known, n=1)
    meant = f" Perhaps {near[0]} is meant." if near else ""
    return SpecInvalid(f"{place}.{name}", f"{place} has no setting “{name}”.{meant}")


def unfit(place: str, kind: type, name: str, words: str) -> SpecInvalid:
    """That a setting cannot be so: its label, where it is written, and the words."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    return _unfit(place, fields[name], words)


def _unfit(place: str, field: dataclasses.Field[Any], words: str) -> SpecInvalid:
    where = f"{place}.{field.name}"
    label = field.metadata.get("label", field.name)
    return SpecInvalid(where, f"“{label}” ({where}): {words}.")


# What a value of a type is called.
KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
}


def check(place: str, field: dataclasses.Field[Any], value: Any) -> Any:
    """The value in its field's type, or SpecInvalid."""
    kind = _plain_type(field)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    told = _shortened(value)
    choices = field.metadata.get("choices")
    if choices and value not in choices:
        known = ", ".join(choices)
        raise _unfit(place, field, f"choose one of {known}; {told} is none of them")
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise _unfit(place, field, f"give {KINDS[kind]}, not {told}")
    low, high = field.metadata.get("low"), field.metadata.get("high")
    unit = f" {field.metadata['unit']}" if field.metadata.get("unit") else ""
    if low is not None and not value >= low:
        raise _unfit(place, field, f"give at least {low:,.12g}{unit}, not {told}")
    if high is not None and not value <= high:
        raise _unfit(place, field, f"give at most {high:,.12g}{unit}, not {told}")
    return value


def _shortened(value: Any) -> str:
    plain = isinstance(value, bool | int | float)
    text = str(value).lower() if plain else f"“{value}”"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _plain_type(field: dataclasses.Field[Any]) -> type:
    kinds: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
    if isinstance(field.type, str):
        return kinds[field.type]
    assert not isinstance(field.type, types.UnionType)
    return typing.cast(type, field.type)
