"""Words for how files are read."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from webapp.datasets.models import DatasetVersion

WAY_LABELS = {
    "blank_lines": _("A blank line ends a document"),
    "lines": _("Every line is a document"),
    "passages": _("Lines are joined to passages of about 2,000 characters"),
}
ROLE_LABELS = {
    "text": _("Text"),
    "title": _("Title"),
    "summary": _("Summary"),
    "source": _("First language"),
    "target": _("Second language"),
    "question": _("Question"),
    "context": _("Context of the question"),
    "answer": _("Answer"),
    "conversation": _("Whole conversation"),
    "chosen": _("Better answer"),
    "rejected": _("Worse answer"),
}


def left_out(version: DatasetVersion, places: int = 5) -> Iterator[str]:
    """What of a version's files was not taken, where it stood and what was kept, a
    sentence each; nothing where everything was."""
    problems = version.problems
    yield from problems.get("files") or ()
    rows = sum((problems.get("counts") or {}).values())
    if not rows:
        return
    for place in (problems.get("first") or ())[:places]:
        yield gettext("%(file)s, line %(line)s: left out, %(reason)s") % place
    if rows > places:
        yield ngettext(
            "and %(rows)d more row was left out",
            "and %(rows)d more rows were left out",
            rows - places,
        ) % {"rows": rows - places}
    yield ngettext(
        "%(name)s: kept %(rows)d row with %(characters)d characters",
        "%(name)s: kept %(rows)d rows with %(characters)d characters",
        version.documents,
    ) % {
        "name": version.dataset.name,
        "rows": version.documents,
        "characters": version.characters,
    }
