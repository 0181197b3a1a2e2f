"""Forms of finished models."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _


class NameForm(forms.Form):
    """Another name for a model."""

    name = forms.CharField(
        label=_("Name"), max_length=200, widget=forms.TextInput(attrs={"dir": "auto"})
    )


class SearchForm(forms.Form):
    """Filter and order of the list of models."""

    show = forms.ChoiceField(
        label=_("Show"),
        required=False,
        choices=[("", _("In use")), ("withdrawn", _("Withdrawn"))],
    )
    sort = forms.ChoiceField(
        label=_("Order"),
        required=False,
        choices=[
            ("newest", _("Newest first")),
            ("oldest", _("Oldest first")),
            ("name", _("By name")),
        ],
    )

    def chosen(self) -> tuple[bool, str]:
        """Whether withdrawn ones are asked for, and the order."""
        self.is_valid()
        return (
            self.cleaned_data.get("show") == "withdrawn",
            self.cleaned_data.get("sort") or "newest",
        )


class PartForm(forms.Form):
    """How far to go from the base (0) to the adapted model (100)."""

    percent = forms.IntegerField(
        label=_("Of the adaptation"),
        help_text=_("0 is the base, 100 the model as it is; 70 is a good first try."),
        min_value=0,
        max_value=100,
        initial=70,
        widget=forms.NumberInput(
            attrs={"type": "range", "step": 5, "data-output": "part-percent"}
        ),
    )
