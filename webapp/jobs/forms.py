"""The questions before a launch, and the drawer of every setting."""

from __future__ import annotations

import dataclasses
from typing import Any
from uuid import UUID

from django import forms
from django.utils.translation import gettext_lazy as _

from training.spec import STAGES
from webapp.bases.models import BaseModel
from webapp.core.setting_fields import setting_field
from webapp.jobs.models import State
from webapp.jobs.planning.plan import Overrides, Plan
from webapp.jobs.proposal import (
    ADVISED,
    BASES,
    MINUTES_AT_LEAST,
    MINUTES_AT_MOST,
    Answers,
)
from webapp.jobs.selectors import SORTS, Search
from webapp.jobs.words import key_title
from webapp.recipes.recipe import SECTIONS, Recipe, stage_keys
from webapp.targets.models import LanguageTarget

GOAL_CHOICES = [
    ("answer", _("To answer and talk")),
    ("translate", _("To translate")),
    ("write", _("To continue text, without answering")),
]

RESOURCES = (*BASES, "models")


def _recipe_choices(known: dict[str, Recipe]) -> list[tuple[Any, Any]]:
    """The adviser's choice first, then every recipe that can be launched by section."""
    groups = [
        (title, [(r.name, r.title) for r in known.values() if r.section == section])
        for section, title in SECTIONS.items()
    ]
    launchable = [
        (title, [(n, t) for n, t in group if known[n].launchable])
        for title, group in groups
    ]
    first = (ADVISED, _("The recommended one"))
    return [first, *((title, group) for title, group in launchable if group)]


class LaunchForm(forms.Form):
    """What the target has not answered: which data, how long, what for, which way."""

    datasets = forms.MultipleChoiceField(
        label=_("What it learns from"), widget=forms.CheckboxSelectMultiple
    )
    minutes = forms.FloatField(
        label=_("How long"),
        help_text=_("Minutes for the whole job. More time learns more."),
        min_value=MINUTES_AT_LEAST,
        max_value=MINUTES_AT_MOST,
        initial=10,
    )
    goal = forms.ChoiceField(
        label=_("What for"),
        choices=GOAL_CHOICES,
        initial="answer",
        widget=forms.RadioSelect,
    )
    faster = forms.BooleanField(
        label=_("Speed matters more than quality"),
        help_text=_(
            "New pieces make text shorter, so that the model writes faster and for less, "
            "even where it would write a little better without them."
        ),
        required=False,
    )
    knows = forms.BooleanField(
        label=_("The base already writes this language"),
        help_text=_(
            "It writes whole, right sentences in it and shall get better. What it knows "
            "hangs on its old pieces; new ones would begin without it."
        ),
        required=False,
    )
    recipe = forms.ChoiceField(label=_("Recipe"), required=False, initial=ADVISED)
    control = forms.BooleanField(
        label=_("Also run the control that keeps the tokenizer"),
        help_text=_(
            "A second job begins when this one has finished. It reads as many bytes of "
            "the same text; both stand side by side on the target's page."
        ),
        required=False,
    )
    instruct = forms.ModelChoiceField(
        label=_("The base's instruction-tuned sibling"),
        queryset=BaseModel.objects.none(),
        required=False,
    )
    donor = forms.ModelChoiceField(
        label=_("A donor whose tokenizer has the language"),
        queryset=BaseModel.objects.none(),
        required=False,
    )
    models = forms.ModelMultipleChoiceField(
        label=_("Models to merge with"),
        queryset=BaseModel.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    key = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        target: LanguageTarget,
        known: dict[str, Recipe],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        rows = target.datasets.filter(deleted_at=None).order_by("created_at")
        choices = [(str(row.id), row.name) for row in rows]
        datasets, recipe = self.fields["datasets"], self.fields["recipe"]
        datasets.choices = choices  # type: ignore[attr-defined]
        datasets.initial = [id for id, _name in choices]
        recipe.choices = _recipe_choices(known)  # type: ignore[attr-defined]
        others = BaseModel.objects.filter(
            workspace=target.workspace, deleted_at=None, state=BaseModel.State.READY
        ).exclude(id=target.base_id)
        for name in RESOURCES:
            self.fields[name].queryset = others.order_by("name")
        self.has_others = others.exists()

    def answers(self) -> Answers:
        """The answers of a valid form."""
        data = self.cleaned_data
        given = {name: str(data[name].id) for name in BASES if data.get(name)}
        models = [str(base.id) for base in data.get("models") or ()]
        return Answers(
            minutes=data["minutes"],
            goal=data["goal"],
            faster=data["faster"],
            knows=data["knows"],
            datasets=data["datasets"],
            resources=given | ({"models": models} if models else {}),
        )

    def more(self) -> dict[str, Any]:
        """What is kept with the answers."""
        return {"control": True} if self.cleaned_data.get("control") else {}

    def others(self) -> list[forms.BoundField]:
        """The fields of other models that a recipe may need."""
        return [self[name] for name in RESOURCES]

    def key_or_none(self) -> UUID | None:
        """What makes a second press of the button launch nothing."""
        return self.cleaned_data.get("key")


class SettingsForm(forms.Form):
    """Every setting of a recipe's stages, made from the settings' own descriptions.

    An empty field keeps the derived value, which stands in it as a placeholder.
    """

    def __init__(self, recipe: Recipe, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for key, stage in recipe.keyed:
            for setting in dataclasses.fields(STAGES[stage.name]):
                self.fields[f"{key}.{setting.name}"] = setting_field(setting)

    def overrides(self) -> Overrides:
        """What a person has set, by stage."""
        chosen: Overrides = {}
        for name, value in self.cleaned_data.items():
            if value not in (None, ""):
                stage, _dot, setting = name.partition(".")
                chosen.setdefault(stage, {})[setting] = value
        return chosen

    def show(self, plan: Plan) -> None:
        """Put the derived values into the empty fields as placeholders, and say of which
        settings nothing would be felt."""
        keys = stage_keys(stage.stage for stage in plan.stages)
        for key, stage in zip(keys, plan.stages, strict=True):
            known = {field.name: field for field in dataclasses.fields(stage)}
            for setting, value in dataclasses.asdict(stage).items():
                field = self.fields.get(f"{key}.{setting}")
                if field and (why := stage.no_effect(known[setting])):
                    field.no_effect = why
                if isinstance(field, forms.ChoiceField):
                    first = _("derived: %(value)s") % {"value": value}
                    field.choices = [("", first), *list(field.choices)[1:]]
                elif field:
                    field.widget.attrs["placeholder"] = f"{value}"

    def groups(self) -> list[dict[str, Any]]:
        """Bound fields by stage, and there by what they are about, for the page."""
        found: dict[str, dict[str, list[forms.BoundField]]] = {}
        for bound in self:
            parts = found.setdefault(bound.name.partition(".")[0], {})
            parts.setdefault(getattr(bound.field, "group", ""), []).append(bound)
        return [
            {
                "name": name,
                "title": key_title(name),
                "parts": [_folded(title, fields) for title, fields in parts.items()],
                "count": sum(len(fields) for fields in parts.values()),
                "touched": any(_touched(bound) for f in parts.values() for bound in f),
            }
            for name, parts in found.items()
        ]

    @property
    def touched(self) -> bool:
        """Whether anything is set or wrong: then the drawer is open."""
        return bool(self.errors) or any(bound.value() for bound in self)


def _folded(title: str, fields: list[forms.BoundField]) -> dict[str, Any]:
    touched = any(_touched(bound) for bound in fields)
    return {"title": title, "fields": fields, "touched": touched}


def _touched(bound: forms.BoundField) -> bool:
    return bool(bound.errors or bound.value())


class SearchForm(forms.Form):
    """Search, filter and sort of the list of jobs."""

    q = forms.CharField(label=_("Search"), required=False, max_length=100)
    state = forms.ChoiceField(
        label=_("State"),
        required=False,
        choices=[("", _("All")), *((s.value, s.label) for s in State)],
    )
    target = forms.UUIDField(
        label=_("Target"), required=False, widget=forms.HiddenInput
    )
    sort = forms.ChoiceField(
        label=_("Order"),
        required=False,
        choices=[
            ("newest", _("Newest first")),
            ("oldest", _("Oldest first")),
            ("finished", _("Last finished first")),
            ("state", _("By state")),
        ],
    )

    def search(self) -> Search:
        """What is asked for; what is not understood is left out."""
        self.is_valid()
        data = {name: str(value or "") for name, value in self.cleaned_data.items()}
        if data.get("sort") not in SORTS:
            data["sort"] = "newest"
        return Search(**data)
