"""Forms of recipes: search, import, and every text and setting of one's own."""

from __future__ import annotations

import dataclasses
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from training.spec import STAGES
from webapp.core.languages import describe
from webapp.core.setting_fields import setting_field
from webapp.jobs.words import key_title
from webapp.recipes.reading import (
    LONGEST_TEXT,
    MOST_CHARACTERS,
    MOST_SHARE,
    MOST_STAGES,
)
from webapp.recipes.recipe import (
    NEEDS,
    SECTIONS,
    TAKES,
    Recipe,
    RecipeStage,
    stage_keys,
)
from webapp.targets.models import LanguageTarget

TEXTS = {
    "title": _("Title"),
    "summary": _("What it does"),
    "when": _("When to choose it"),
    "cost": _("What it costs"),
    "source": _("Where it comes from"),
    "checked": _("What was checked"),
}


class SearchForm(forms.Form):
    """Section of the gallery, and the target that the recipes are looked at for."""

    section = forms.ChoiceField(
        label=_("Section"),
        required=False,
        choices=[("", _("All")), *SECTIONS.items()],
    )

    target = forms.ModelChoiceField(
        label=_("For the target"),
        queryset=LanguageTarget.objects.none(),
        required=False,
        empty_label=_("Any"),
    )

    def __init__(self, data: Any, targets: QuerySet[LanguageTarget]) -> None:
        super().__init__(data)
        target = self.fields["target"]
        target.queryset = targets.select_related("base")  # type: ignore[attr-defined]
        target.label_from_instance = (  # type: ignore[attr-defined]
            lambda row: f"{describe(row.language).name} · {row.base.name}"
        )
        if not targets.exists():
            del self.fields["target"]

    def chosen(self) -> tuple[str, LanguageTarget | None]:
        """Section and target; what is not one is left out."""
        self.is_valid()
        found = self.cleaned_data
        return str(found.get("section") or ""), found.get("target")


class ImportForm(forms.Form):
    """A TOML text, or a file with one."""

    toml = forms.CharField(
        label=_("Recipe as TOML"),
        required=False,
        max_length=MOST_CHARACTERS,
        strip=False,
        widget=forms.Textarea(
            attrs={"rows": 18, "class": "mono", "spellcheck": "false", "dir": "ltr"}
        ),
    )
    file = forms.FileField(label=_("Or a file"), required=False)

    def clean(self) -> dict[str, Any]:
        """One of the two, as text."""
        data = super().clean() or {}
        file = data.get("file")
        if file and file.size > 4 * MOST_CHARACTERS:
            self.add_error("file", _("This is too long to be a recipe."))
        elif file:
            try:
                data["toml"] = file.read().decode("utf-8-sig")
            except UnicodeDecodeError:
                self.add_error("file", _("This file is not a text in UTF-8."))
        if not self.errors and not (data.get("toml") or "").strip():
            self.add_error("toml", _("Paste a recipe, or choose a file."))
        return data

    def text(self) -> str:
        """The TOML of a valid form."""
        return str(self.cleaned_data["toml"])


def _need(name: str) -> str:
    return f"{name}: {TAKES[name]}"


class RecipeForm(forms.Form):
    """Texts, the order of the stages, and every setting; an empty one stays derived."""

    def __init__(self, recipe: Recipe, data: Any = None) -> None:
        super().__init__(data)
        self.known = recipe
        for name, label in TEXTS.items():
            long = {} if name == "title" else {"widget": forms.Textarea({"rows": 2})}
            self.fields[name] = forms.CharField(
                label=label,
                initial=getattr(recipe, name),
                max_length=LONGEST_TEXT,
                **long,
            )
        self.fields["changes"] = forms.CharField(
            label=_("What differs from the source"),
            help_text=_("One a line."),
            required=False,
            initial="\n".join(recipe.changes),
            widget=forms.Textarea(attrs={"rows": 3}),
        )
        self.fields["needs"] = forms.MultipleChoiceField(
            label=_("What it needs"),
            required=False,
            initial=list(recipe.needs),
            choices=[(name, _need(name)) for name in NEEDS],
            widget=forms.CheckboxSelectMultiple,
        )
        self.fields["stages"] = forms.CharField(
            label=_("Stages in order"),
            help_text=_("One a line, of: %(names)s. Save to see settings of a new one.")
            % {"names": ", ".join(STAGES)},
            initial="\n".join(stage.name for stage in recipe.stages),
            widget=forms.Textarea(attrs={"rows": 8, "class": "mono", "dir": "ltr"}),
        )
        self.fields["revision"] = forms.IntegerField(
            widget=forms.HiddenInput, initial=recipe.own.revision if recipe.own else 1
        )
        for key, stage in recipe.keyed:
            self._add_stage(key, stage)

    def _add_stage(self, key: str, stage: RecipeStage) -> None:
        self.fields[f"{key}.share"] = forms.FloatField(
            label=_("Share of the time"),
            help_text=_("Its weight among the stages that read, or that answer."),
            required=False,
            min_value=0.001,
            max_value=MOST_SHARE,
            initial=stage.share if stage.share != 1.0 else None,
            widget=forms.NumberInput(attrs={"step": "any"}),
        )
        for setting in dataclasses.fields(STAGES[stage.name]):
            field = setting_field(setting)
            field.initial = stage.settings.get(setting.name)
            self.fields[f"{key}.{setting.name}"] = field

    def clean_stages(self) -> list[str]:
        """Names of stages, each known."""
        names = self.cleaned_data["stages"].split()
        for name in names:
            if name not in STAGES:
                raise forms.ValidationError(
                    _("“%(name)s” is not a stage."), params={"name": name}
                )
        if len(names) > MOST_STAGES:
            raise forms.ValidationError(_("These are too many stages."))
        return names

    def recipe(self) -> Recipe:
        """The recipe of a valid form; settings stay with their stage, by its key."""
        data = self.cleaned_data
        stages = []
        for key, name in zip(stage_keys(data["stages"]), data["stages"], strict=True):
            settings = {
                setting.name: value
                for setting in dataclasses.fields(STAGES[name])
                if (value := data.get(f"{key}.{setting.name}")) not in (None, "")
            }
            stages.append(RecipeStage(name, settings, data.get(f"{key}.share") or 1.0))
        changes = [line.strip() for line in data["changes"].splitlines()]
        return dataclasses.replace(
            self.known,
            **{name: " ".join(data[name].split()) for name in TEXTS},
            changes=tuple(line for line in changes if line),
            needs=tuple(data["needs"]),
            stages=tuple(stages),
            unsupported="",
        )

    def about(self) -> list[forms.BoundField]:
        """The fields that belong to no stage."""
        names = [*TEXTS, "changes", "needs", "stages", "revision"]
        return [self[name] for name in names]

    def groups(self) -> list[dict[str, Any]]:
        """Bound fields by stage; open where something is fixed or wrong."""
        groups = []
        for key, stage in self.known.keyed:
            fields = [self[n] for n in self.fields if n.startswith(f"{key}.")]
            wrong = any(field.errors for field in fields)
            group = {"key": key, "title": key_title(key), "fields": fields}
            groups.append(group | {"open": wrong, "fixed": len(stage.settings)})
        return groups
