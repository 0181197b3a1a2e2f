"""Forms of language targets."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from webapp.bases.models import BaseModel
from webapp.core.languages import (
    Language,
    describe,
    find,
    is_known,
    meant,
    same_language,
)
from webapp.datasets.models import Dataset, Kind
from webapp.targets.models import LanguageTarget
from webapp.targets.selectors import ready_datasets
from webapp.workspaces.models import Workspace

LEARNED = (
    Kind.MONOLINGUAL,
    Kind.PARALLEL,
    Kind.INSTRUCTIONS,
    Kind.PREFERENCES,
)
ENGLISH = "en"


def is_in(dataset: Dataset, tag: str) -> bool:
    """Whether a dataset holds text of a language, beside another one or alone."""
    return any(same_language(own, tag) for own in dataset.languages)


class LanguageField(forms.CharField):
    """A language by its name, its own name, or its tag; cleans to the tag."""

    widget = forms.TextInput(
        attrs={"dir": "auto", "autocomplete": "off", "spellcheck": "false"}
    )

    def clean(self, value: Any) -> str:
        """The tag; where several languages may be meant the person is asked."""
        text = super().clean(value)
        if not text:
            return ""
        found = meant(text)
        if not found:
            raise forms.ValidationError(
                _(
                    "No language goes by the name or tag “%(text)s”. Try its English "
                    "name, its own name, or its ISO 639 code."
                ),
                params={"text": text},
            )
        if len(found) > 1:
            raise forms.ValidationError(_("Which of these do you mean?"), code="which")
        return found[0].tag


class DataForm(forms.Form):
    """What to learn from and what to protect."""

    datasets = forms.ModelMultipleChoiceField(
        label=_("Learn from"),
        queryset=Dataset.objects.none(),
        required=False,
        help_text=_(
            "Text of related languages is read beside your own and helps along; a list "
            "of words or names with their translations serves as a dictionary. More can "
            "be added later; each job takes what is there then."
        ),
    )
    protected_language = LanguageField(
        label=_("Language to protect"),
        max_length=100,
        help_text=_("What the base can already do and must not forget."),
    )
    protected = forms.ModelMultipleChoiceField(
        label=_("Text to protect it with"),
        queryset=Dataset.objects.none(),
        required=False,
        help_text=_(
            "Some of it is read again between your own text, so that it is not "
            "forgotten, and some is held out to measure whether it was."
        ),
    )

    def __init__(
        self, workspace: Workspace, *args: Any, language: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.language = language
        ready = ready_datasets(workspace)
        self.learnable = list(ready.filter(kind__in=LEARNED))
        self.protectable = [d for d in self.learnable if d.kind == Kind.MONOLINGUAL]
        self.fields["datasets"].queryset = ready.filter(kind__in=LEARNED)
        self.fields["protected"].queryset = ready.filter(kind=Kind.MONOLINGUAL)

    def clean(self) -> dict[str, Any]:
        """A text is either new or known."""
        data = super().clean() or {}
        both = set(data.get("datasets") or ()) & set(data.get("protected") or ())
        if both:
            names = ", ".join(sorted(dataset.name for dataset in both))
            self.add_error(
                "protected",
                _("%(names)s cannot be learned and protected at once.")
                % {"names": names},
            )
        return data

    def kinds(self) -> list[dict[str, Any]]:
        """Datasets to learn from by kind: `rows` of the chosen language, `others`; each
        with whether it is ticked. Without a language all are `rows`."""
        tag = self.chosen_language()
        return [
            {"label": kind.label} | self._rows("datasets", found, tag)
            for kind in LEARNED
            if (found := [d for d in self.learnable if d.kind == kind])
        ]

    def protected_rows(self) -> dict[str, Any]:
        """Datasets to protect with, in the same way."""
        found = meant(str(self["protected_language"].value() or ""))
        tag = found[0].tag if len(found) == 1 else ""
        return self._rows("protected", self.protectable, tag)

    def chosen_language(self) -> str:
        """The tag of the target's language; empty while it is not known."""
        return self.language

    def _rows(self, field: str, datasets: list[Dataset], tag: str) -> dict[str, Any]:
        ticked = {str(getattr(v, "pk", v)) for v in self[field].value() or ()}
        rows = [{"dataset": d, "ticked": str(d.pk) in ticked} for d in datasets]
        own = [row for row in rows if not tag or is_in(row["dataset"], tag)]
        others = [row for row in rows if row not in own]
        # A tick must be seen.
        return {"rows": own, "others": others, "open": any(r["ticked"] for r in others)}


class NewTargetForm(DataForm):
    """A language, a base, and what to learn from. `tag` is a suggestion taken up."""

    language = LanguageField(
        label=_("Language"),
        max_length=100,
        required=False,
        help_text=_("Its name in any language, or its tag: Uyghur, ئۇيغۇرچە, ug."),
    )
    tag = forms.CharField(max_length=40, required=False, widget=forms.HiddenInput)
    base = forms.ModelChoiceField(
        label=_("Base model"), queryset=BaseModel.objects.none(), empty_label=None
    )
    field_order = ["language", "tag", "base", "datasets"]

    def __init__(self, workspace: Workspace, *args: Any, **kwargs: Any) -> None:
        super().__init__(workspace, *args, **kwargs)
        self.bases: QuerySet[BaseModel] = BaseModel.objects.filter(
            workspace=workspace, deleted_at=None, state=BaseModel.State.READY
        )
        self.fields["base"].queryset = self.bases
        if not self.is_bound:
            self.initial.setdefault("protected_language", describe(ENGLISH).name)
            self.initial.setdefault("protected", self._english())
            if tag := self.chosen_language():
                own = [d for d in self.learnable if is_in(d, tag)]
                self.initial.setdefault("datasets", own)

    def chosen_language(self) -> str:
        """The suggestion that was taken, or the one that the typed name means."""
        if tag := str(self["tag"].value() or ""):
            return tag if is_known(tag) else ""
        found = meant(str(self["language"].value() or ""))
        return found[0].tag if len(found) == 1 else ""

    def _english(self) -> list[Dataset]:
        return [
            dataset
            for dataset in self.protectable
            if all(same_language(tag, ENGLISH) for tag in dataset.languages)
            and dataset.languages
        ]

    def clean_tag(self) -> str:
        """Only a tag that exists."""
        tag = self.cleaned_data["tag"]
        if tag and not is_known(tag):
            raise forms.ValidationError(_("This is not the tag of a language."))
        return tag

    def clean(self) -> dict[str, Any]:
        """The suggestion that was taken goes before the typed name."""
        data = super().clean()
        if data.get("tag"):
            self.errors.pop("language", None)
            data["language"] = data["tag"]
        elif not data.get("language") and "language" not in self.errors:
            self.add_error("language", _("Choose a language."))
        return data

    def suggestions(self) -> list[Language]:
        """Languages to choose from, for the typed name."""
        return find(str(self["language"].value() or ""))


class SearchForm(forms.Form):
    """Order of the list of targets."""

    sort = forms.ChoiceField(
        label=_("Order"),
        required=False,
        choices=[
            ("newest", _("Newest first")),
            ("oldest", _("Oldest first")),
            ("language", _("By language")),
        ],
    )

    def chosen(self) -> str:
        """The order; the first where it is not understood."""
        self.is_valid()
        return self.cleaned_data.get("sort") or "newest"


def change_form(target: LanguageTarget, data: Any = None) -> DataForm:
    """The form with which a target's datasets are changed, filled with them."""
    return DataForm(
        target.workspace,
        data,
        language=target.language,
        initial={
            "datasets": list(target.datasets.all()),
            "protected": list(target.protected.all()),
            "protected_language": describe(target.protected_language).name,
        },
    )
