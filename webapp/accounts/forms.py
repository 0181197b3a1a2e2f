"""Forms about people."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import (
    password_validators_help_texts,
    validate_password,
)
from django.http import HttpRequest
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from webapp.accounts.models import User


class SignInForm(forms.Form):
    """E-mail and password."""

    email = forms.EmailField(
        label=_("E-mail address"),
        widget=forms.EmailInput({"autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "current-password"}),
    )

    def authenticate(self, request: HttpRequest) -> User | None:
        """The person, if the password is right."""
        return authenticate(
            request,
            username=self.cleaned_data["email"].lower(),
            password=self.cleaned_data["password"],
        )


class PersonForm(forms.Form):
    """Who one is."""

    name = forms.CharField(
        label=_("Your name"),
        max_length=150,
        widget=forms.TextInput({"autocomplete": "name", "dir": "auto"}),
    )
    email = forms.EmailField(
        label=_("E-mail address"),
        help_text=_("You sign in with it. Nothing is sent to it."),
        widget=forms.EmailInput({"autocomplete": "username"}),
    )


class NewPasswordForm(forms.Form):
    """A new password, twice."""

    password = forms.CharField(
        label=_("New password"),
        strip=False,
        help_text=format_lazy("{} {}", *password_validators_help_texts()[1:3]),
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label=_("The same password again"),
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
    )

    def clean(self) -> dict[str, Any]:
        """Both the same, and not easy to guess."""
        values = super().clean() or self.cleaned_data
        password, again = values.get("password"), values.get("again")
        if password and again and password != again:
            self.add_error("again", _("The two passwords differ."))
        if password:
            person = User(email=values.get("email", ""), name=values.get("name", ""))
            try:
                validate_password(password, person)
            except forms.ValidationError as problem:
                self.add_error("password", problem)
        return values


class NewPersonForm(NewPasswordForm, PersonForm):
    """Name, e-mail address and password of somebody who begins here."""

    field_order = ["name", "email", "password", "again"]


class PasswordChangeForm(NewPasswordForm):
    """The old password and a new one."""

    old = forms.CharField(
        label=_("Your password now"),
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "current-password"}),
    )
    field_order = ["old", "password", "again"]

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_old(self) -> str:
        """It must be right."""
        if not self.user.check_password(self.cleaned_data["old"]):
            raise forms.ValidationError(_("This is not your password."))
        return self.cleaned_data["old"]
