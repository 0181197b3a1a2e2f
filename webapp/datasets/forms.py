"""Forms of datasets."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext_lazy as _

from webapp.core import languages
from webapp.datasets.models import Dataset, DatasetVersion, Kind, Upload
from webapp.datasets.reading.documents import WAYS
from webapp.datasets.reading.kinds import OPTIONAL_ROLES, ROLES_OF_KIND
from webapp.datasets.words import ROLE_LABELS, WAY_LABELS
from webapp.workspaces.models import Workspace

DETECTED = ("", _("Detected for each file"))
# Offered where detection was wrong; Python's names.
ENCODINGS = (
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "windows-1250", "windows-1251",
    "windows-1252", "windows-1253", "windows-1254", "windows-1255", "windows-1256",
    "windows-1257", "windows-1258", "iso8859-1", "iso8859-2", "iso8859-5", "iso8859-6",
    "iso8859-15", "koi8-r", "koi8-u", "gb18030", "big5", "shift_jis", "euc-jp",
    "euc-kr", "tis-620",
)  # fmt: skip


class LanguageField(forms.CharField):
    """A language by any name or tag; its value is the tag."""

    widget = forms.TextInput(
        attrs={"list": "language-options", "autocomplete": "off", "dir": "auto"}
    )

    def clean(self, value: Any) -> str:
        """The tag, or an error that names what may have been meant."""
        text = super().clean(value).strip()
        if not text:
            return ""
        if text.endswith(")") and languages.is_known(tag := text[:-1].split("(")[-1]):
            return languages.describe(tag).tag
        found = languages.meant(text)
        if not found:
            raise forms.ValidationError(
                _(
                    "No language is called %(text)s. Try its name in English or its tag."
                ),
                params={"text": text},
            )
        if len(found) == 1:
            return found[0].tag
        raise forms.ValidationError(
            _("Which language is %(text)s? Perhaps %(perhaps)s."),
            params={
                "text": text,
                "perhaps": ", ".join(f"{one.name} ({one.tag})" for one in found[:4]),
            },
        )

    def prepare_value(self, value: Any) -> Any:
        """A tag as "Swahili (sw)"."""
        if value and languages.is_known(value):
            found = languages.describe(value)
            return f"{found.name} ({found.tag})"
        return value


class FilesInput(forms.ClearableFileInput):
    """A picker of several files."""

    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Several files."""

    widget = FilesInput

    def clean(self, value: Any, initial: Any = None) -> list[UploadedFile]:
        """The files; those that are empty are refused later, each by its name."""
        return list(value or [])


class FilesForm(forms.Form):
    """Files that came in pieces (`uploads`, ids), or whole by this form (`files`)."""

    files = FilesField(label=_("Files"), required=False)

    def __init__(self, workspace: Workspace, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.workspace = workspace

    def clean(self) -> dict[str, Any]:
        """Resolve the ids; a foreign one is as if it were not there."""
        data = super().clean() or {}
        ids = self.data.getlist("uploads") if hasattr(self.data, "getlist") else []
        known = Upload.objects.filter(
            workspace=self.workspace, id__in=[id for id in ids if _is_uuid(id)]
        )
        data["uploads"] = sorted(known, key=lambda upload: ids.index(str(upload.id)))
        if not data["uploads"] and not data.get("files"):
            self.add_error("files", _("Choose at least one file."))
        return data


def _is_uuid(text: str) -> bool:
    try:
        forms.UUIDField().clean(text)
    except forms.ValidationError:
        return False
    return True


class AboutForm(forms.Form):
    """What people say about a dataset."""

    name = forms.CharField(label=_("Name"), max_length=200)
    language = LanguageField(
        label=_("Language"), help_text=_("Any name of it, or its tag: Kiswahili, sw.")
    )
    second_language = LanguageField(
        label=_("Second language"),
        required=False,
        help_text=_("For sentences with their translation: that of the second column."),
    )
    licence = forms.CharField(
        label=_("Licence"),
        required=False,
        max_length=200,
        help_text=_("What others may do with the text: CC0, CC BY 4.0, only for us."),
    )
    origin = forms.CharField(
        label=_("Origin"),
        required=False,
        max_length=500,
        help_text=_("Who wrote or collected it, and where it is from."),
    )

    def tags(self) -> list[str]:
        """The languages of a valid form."""
        data = self.cleaned_data
        return [tag for tag in (data["language"], data["second_language"]) if tag]

    @staticmethod
    def of(dataset: Dataset) -> dict[str, str]:
        """What a form begins with."""
        first, second = [*dataset.languages, "", ""][:2]
        return {
            "name": dataset.name,
            "language": first,
            "second_language": second,
            "licence": dataset.licence,
            "origin": dataset.origin,
        }


class NewDatasetForm(FilesForm, AboutForm):
    """Files, and what they are."""

    field_order = ("files", "name", "language", "second_language", "licence", "origin")

    def __init__(self, workspace: Workspace, *args: Any, **kwargs: Any) -> None:
        super().__init__(workspace, *args, **kwargs)
        self.fields["name"].required = False
        self.fields["name"].help_text = _("Left empty, it is the first file's.")


class AddVersionForm(FilesForm):
    """More files for a dataset."""

    keep = forms.BooleanField(
        label=_("Keep the files of the newest version beside them"),
        required=False,
        initial=True,
    )


class CorrectForm(forms.Form):
    """How a version's files are to be read: kind, columns, documents, encoding."""

    kind = forms.ChoiceField(label=_("What the rows are"), choices=Kind.choices)
    documents = forms.ChoiceField(
        label=_("Documents of plain text"),
        choices=[(way, WAY_LABELS[way]) for way in WAYS],
    )
    encoding = forms.ChoiceField(
        label=_("Encoding"),
        required=False,
        choices=[DETECTED, *((name, name.upper()) for name in ENCODINGS)],
        help_text=_("Change it where letters look wrong."),
    )

    def __init__(
        self, version: DatasetVersion, kind: str, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        available = [str(column) for column in version.guess.get("available") or []]
        self.chosen_kind = kind if kind in ROLES_OF_KIND else Kind.MONOLINGUAL
        if self.chosen_kind != Kind.MONOLINGUAL:
            del self.fields["documents"]
        for role in ROLES_OF_KIND[self.chosen_kind] if len(available) > 1 else ():
            self.fields[f"column_{role}"] = forms.ChoiceField(
                label=ROLE_LABELS[role],
                required=False,
                choices=[
                    ("", _("None") if role in OPTIONAL_ROLES else _("Guess")),
                    *((column, column) for column in available),
                ],
            )

    def options(self) -> dict[str, Any]:
        """As correct_version takes them."""
        data = self.cleaned_data
        columns = {
            role: data[f"column_{role}"]
            for role in ROLES_OF_KIND[self.chosen_kind]
            if data.get(f"column_{role}")
        }
        return {
            "kind": data["kind"],
            "documents": data.get("documents", ""),
            "encoding": data["encoding"],
            # Columns chosen for another kind mean nothing for this one.
            "columns": columns if data["kind"] == self.chosen_kind else {},
        }

    @staticmethod
    def of(version: DatasetVersion, kind: str) -> dict[str, str]:
        """What a form begins with."""
        options = version.options
        same = kind == options.get("kind")
        columns = options.get("columns") or {} if same else {}
        return {
            "kind": kind,
            "documents": options.get("documents") or "passages",
            "encoding": options.get("encoding") or "",
            **{f"column_{role}": column for role, column in columns.items()},
        }


class SearchForm(forms.Form):
    """Search, filter and sort of the list."""

    kind = forms.ChoiceField(
        label=_("Kind"), required=False, choices=[("", _("All")), *Kind.choices]
    )
    language = forms.ChoiceField(label=_("Language"), required=False)
    sort = forms.ChoiceField(
        label=_("Order"),
        required=False,
        choices=[
            ("newest", _("Newest first")),
            ("oldest", _("Oldest first")),
            ("name", _("By name")),
            ("largest", _("Largest first")),
        ],
    )

    def __init__(self, tags: list[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        named = [(tag, languages.describe(tag).name) for tag in tags]
        self.fields["language"].choices = [("", _("All")), *named]  # type: ignore[attr-defined]

    def chosen(self) -> dict[str, str]:
        """What is asked for; what is not understood is left out."""
        self.is_valid()
        data = self.cleaned_data
        return {
            "kind": data.get("kind", ""),
            "language": data.get("language", ""),
            "sort": data.get("sort") or "newest",
        }
