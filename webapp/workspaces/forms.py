"""Forms about workspaces."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from webapp.workspaces.models import Role


class WorkspaceForm(forms.Form):
    """A name."""

    name = forms.CharField(
        label=_("Name of the workspace"),
        max_length=100,
        help_text=_("A team, a school, a project: people see it and can change it."),
        widget=forms.TextInput({"dir": "auto", "autocomplete": "organization"}),
    )


class RoleForm(forms.Form):
    """A role."""

    role = forms.ChoiceField(label=_("Role"), choices=Role, initial=Role.EDITOR)
