"""What views share about what people send: query parameters, forms that go wrong."""

from __future__ import annotations

from typing import Any

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from webapp.core.errors import Refusal

LONGEST_QUERY = 200


def asked_text(request: HttpRequest, name: str = "q") -> str:
    """A query parameter, cut; without NUL, which PostgreSQL refuses."""
    return request.GET.get(name, "").replace("\0", "").strip()[:LONGEST_QUERY]


def asked_number(request: HttpRequest, name: str) -> int | None:
    """A query parameter that is a whole number of at most twelve digits; else None."""
    text = request.GET.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= 12 else None


def show_form(
    request: HttpRequest, template: str, form: BaseForm, **context: Any
) -> HttpResponse:
    """The page of a form: 200 at first, 422 where something must be corrected."""
    status = 422 if form.is_bound and not form.is_valid() else 200
    return render(request, template, {"form": form, **context}, status=status)


def add_refusal(form: BaseForm, refusal: Refusal) -> None:
    """Put a service's refusal at its field, or above the form."""
    field = refusal.field if refusal.field in form.fields else None
    form.add_error(field, refusal.sentence)
