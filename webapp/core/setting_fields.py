"""A form field from a setting's own description (training/settings/)."""

from __future__ import annotations

import dataclasses
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from training.spec import named
from webapp.core.choice_words import choice_words

LONGEST_TEXT = 2_000


def setting_field(setting: dataclasses.Field[Any]) -> forms.Field:
    """A form field with label, help, unit, range and (as `group`) group of a setting."""
    field = _field(setting)
    field.no_effect = ""  # type: ignore[attr-defined]
    field.group = setting.metadata.get("group", "")  # type: ignore[attr-defined]
    field.explained = _explained(setting)  # type: ignore[attr-defined]
    return field


def _explained(setting: dataclasses.Field[Any]) -> list[dict[str, Any]]:
    """Choices that say what they do: name, label, and in words what each needs."""
    needs = setting.metadata["needs"]
    return [
        {
            "name": name,
            "label": label,
            "needs": [named(group) for group in needs.get(name, ())],
        }
        for name, label in setting.metadata["labels"].items()
    ]


def _field(setting: dataclasses.Field[Any]) -> forms.Field:
    about = setting.metadata
    help_text = about["help"]
    if about["unit"]:
        help_text = f"{help_text} ({about['unit']})"
    same = {"label": about["label"], "help_text": help_text, "required": False}
    if about["choices"]:
        choices = [("", _("derived"))]
        for choice in about["choices"]:
            words = about["labels"].get(choice) or choice_words(setting.name, choice)
            choices.append((choice, f"{choice}: {words}" if words else choice))
        return forms.ChoiceField(choices=choices, **same)
    kind = type(setting.default)
    if kind is bool:
        answers = [("", _("derived")), ("true", _("yes")), ("false", _("no"))]
        return forms.TypedChoiceField(
            choices=answers, coerce=lambda text: text == "true", empty_value="", **same
        )
    if kind is str:
        return forms.CharField(max_length=LONGEST_TEXT, **same)
    kinds = {int: forms.IntegerField, float: forms.FloatField}
    field = kinds[kind](min_value=about["low"], max_value=about["high"], **same)
    if kind is float:
        field.widget.attrs["step"] = "any"
    return field
