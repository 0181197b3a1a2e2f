"""What each dataset of a target is used for, in words."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from webapp.datasets.models import Dataset
from webapp.jobs.roles import role_of
from webapp.targets.models import LanguageTarget
from webapp.targets.selectors import newest_versions

USES = {
    "target": _("Read as text of the language."),
    "related": _(
        "Text of another language, read beside it: a related language with more text "
        "helps along. Small languages are read more often than their size says."
    ),
    "parallel": _(
        "Read as translations both ways, and made into requests to translate."
    ),
    "dictionary": _(
        "Words and names with their translations: they show the model which new word "
        "means what it knows."
    ),
    "instructions": _("Teaches answering."),
    "preferences": _("Teaches which of two answers is better, after answering."),
}


def learned_datasets(target: LanguageTarget) -> list[Dataset]:
    """A target's datasets, each with `use`: the sentence that says what for, empty
    where it has not been read yet."""
    roles = {
        version.dataset_id: role_of(version.dataset, version, target.language)
        for version in newest_versions(target.datasets.all())
    }
    found = list(target.datasets.filter(deleted_at=None))
    for dataset in found:
        dataset.use = USES.get(roles.get(dataset.id, ""), "")
    return found
