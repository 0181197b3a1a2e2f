"""`manage.py sign-in-link EMAIL`: a link by which somebody sets a new password; on a new
installation, by which the first administrator begins."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from webapp.accounts.models import User
from webapp.accounts.services import create_sign_in_link, first_administrator


class Command(BaseCommand):
    """Print a one-time link for a person who exists, or for the first one."""

    help = "Print a link by which a person sets a new password, once, within two days."

    def add_arguments(self, parser: CommandParser) -> None:
        """EMAIL and the site's address."""
        parser.add_argument("email")
        parser.add_argument("--site", default="http://localhost:8000")

    def handle(self, *args: Any, email: str, site: str, **options: Any) -> None:
        """Make the link."""
        user = User.objects.filter(email=email.lower()).first()
        if user:
            link = create_sign_in_link(user=user)
        elif (first := first_administrator(email=email)) is not None:
            link = first
        else:
            raise CommandError(f"Nobody here has the e-mail address {email}.")
        self.stdout.write(site.rstrip("/") + reverse("sign-in-link", args=[link.token]))
