"""Words for how files are read."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

WAY_LABELS = {
    "blank_lines": _("A blank line ends a document"),
    "lines": _("Every line is a document"),
    "passages": _("Lines are joined to passages of about 2,000 characters"),
}
ROLE_LABELS = {
    "text": _("Text"),
    "source": _("First language"),
    "target": _("Second language"),
    "question": _("Question"),
    "context": _("Context of the question"),
    "answer": _("Answer"),
    "conversation": _("Whole conversation"),
    "chosen": _("Better answer"),
    "rejected": _("Worse answer"),
}
