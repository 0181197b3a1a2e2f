"""Signing in and out, and one's own account."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from webapp.accounts import services
from webapp.accounts.forms import (
    NewPersonForm,
    PasswordChangeForm,
    PersonForm,
    SignInForm,
)
from webapp.accounts.selectors import usable_link
from webapp.accounts.throttle import seconds_to_wait
from webapp.core.errors import Refusal
from webapp.core.forms import add_refusal, show_form
from webapp.core.templatetags.show import duration


@login_not_required
@never_cache
@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    """E-mail and password; slow for those who guess."""
    if request.user.is_authenticated:
        return redirect("home")
    form = SignInForm(request.POST or None)
    if form.is_valid():
        email, address = form.cleaned_data["email"], request.META["REMOTE_ADDR"]
        if wait := seconds_to_wait(email, address):
            form.add_error(
                None,
                _("Too many wrong passwords. Wait %(time)s and try again.")
                % {"time": duration(wait)},
            )
        elif user := form.authenticate(request):
            services.forget_failed_sign_ins(email=email, address=address)
            login(request, user)
            return redirect(_next(request))
        else:
            services.note_failed_sign_in(email=email, address=address)
            form.add_error(None, _("E-mail address and password do not match."))
    return show_form(
        request, "accounts/sign_in.html", form, next=request.GET.get("next", "")
    )


def _next(request: HttpRequest) -> str:
    """Where the person wanted to go, if it is on this site."""
    wanted = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(wanted, {request.get_host()}):
        return wanted
    return "home"


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return redirect("sign-in")


@login_not_required
@never_cache
@sensitive_post_parameters("password", "again")
def sign_in_link(request: HttpRequest, token: str) -> HttpResponse:
    """Set name and password by a link. Opening it spends nothing: mail programs look
    into links before people do."""
    link = usable_link(token)
    if link is None:
        return render(request, "accounts/link_over.html", status=410)
    form = NewPersonForm(request.POST or None, initial=_known(link.user))
    if form.is_valid():
        values: dict[str, Any] = dict(form.cleaned_data)
        values.pop("again")
        try:
            user = services.use_sign_in_link(token=token, **values)
        except Refusal as refusal:
            add_refusal(form, refusal)
        else:
            login(request, user, "django.contrib.auth.backends.ModelBackend")
            return redirect("home")
    return show_form(request, "accounts/link.html", form)


def _known(user: services.User) -> dict[str, str]:
    email = "" if user.email == services.FIRST_EMAIL else user.email
    return {"name": user.name, "email": email}


@sensitive_post_parameters("old", "password", "again")
def password_change(request: HttpRequest) -> HttpResponse:
    """A new password; this session goes on, others end."""
    form = PasswordChangeForm(request.user, request.POST or None)
    if form.is_valid():
        services.change_password(
            user=request.user, password=form.cleaned_data["password"]
        )
        update_session_auth_hash(request, request.user)
        messages.success(
            request, _("Your password is changed. Other sessions are signed out.")
        )
        return redirect("profile")
    return show_form(request, "accounts/password.html", form)


def profile(request: HttpRequest) -> HttpResponse:
    """Name and e-mail address."""
    form = PersonForm(request.POST or None, initial=_known(request.user))
    if form.is_valid():
        try:
            services.change_profile(user=request.user, **form.cleaned_data)
        except Refusal as refusal:
            add_refusal(form, refusal)
        else:
            messages.success(request, _("Saved."))
            return redirect("profile")
    return show_form(request, "accounts/profile.html", form)
