"""Forms of base models."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from webapp.bases.models import BaseModel
from webapp.bases.selectors import SORTS, TRIED_CHARACTERS


class NewBaseForm(forms.Form):
    """Where a base model comes from."""

    origin = forms.ChoiceField(
        label=_("Where is it?"),
        choices=[
            ("folder", _("In a folder of this machine")),
            ("hub", _("On the Hugging Face hub")),
        ],
        widget=forms.RadioSelect,
        initial="folder",
    )
    address = forms.CharField(
        label=_("Folder or hub id"),
        max_length=1000,
        help_text=_(
            "A folder with config.json, tokenizer.json and *.safetensors, such as "
            "/models/llama; or a hub id, such as organisation/model."
        ),
        widget=forms.TextInput(attrs={"dir": "ltr", "spellcheck": "false"}),
    )
    name = forms.CharField(
        label=_("Name"),
        max_length=200,
        required=False,
        help_text=_(
            "As it is to be called here; else as the folder or model is called."
        ),
    )
    licence = forms.CharField(
        label=_("Licence"),
        max_length=200,
        required=False,
        help_text=_(
            "Every model made from it inherits it, for example apache-2.0. From the hub "
            "it is read by itself."
        ),
    )
    final_learning_rate = forms.FloatField(
        label=_("Final learning rate"),
        required=False,
        min_value=0,
        max_value=0.1,
        help_text=_(
            "Where its own training ended, if its model card says so, for example "
            "0.00003. Learning then begins there and not at zero."
        ),
        widget=forms.TextInput(attrs={"inputmode": "decimal", "dir": "ltr"}),
    )


class SearchForm(forms.Form):
    """Filter and order of the list of bases."""

    state = forms.ChoiceField(
        label=_("State"),
        required=False,
        choices=[("", _("All")), *BaseModel.State.choices],
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

    def chosen(self) -> dict[str, str]:
        """What is asked for; what is not understood is left out."""
        self.is_valid()
        sort = self.cleaned_data.get("sort") or "newest"
        return {
            "state": self.cleaned_data.get("state") or "",
            "sort": sort if sort in SORTS else "newest",
        }


class TryForm(forms.Form):
    """A text to try a tokenizer on."""

    text = forms.CharField(
        label=_("Try the tokenizer"),
        required=False,
        strip=False,
        help_text=_("Any text in any script; at most %(count)d characters are cut.")
        % {"count": TRIED_CHARACTERS},
        widget=forms.Textarea(attrs={"rows": 3, "dir": "auto"}),
    )
