"""The bundled example: Swahili on a small English base, from files of `samples/`."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext as _

from webapp.accounts.models import User
from webapp.bases.services import register_folder
from webapp.core.errors import Refusal
from webapp.datasets.models import Dataset, Kind
from webapp.datasets.services import add_files
from webapp.jobs.models import ALIVE, Job
from webapp.jobs.services import Answers, launch_job
from webapp.targets.models import LanguageTarget
from webapp.targets.services import create_target
from webapp.workspaces.models import Workspace

LANGUAGE, PROTECTED = "sw", "en"
MINUTES = 7.0

# name of the dataset, files of samples/, kind, languages
FILES: tuple[tuple[str, tuple[str, ...], str, tuple[str, ...]], ...] = (
    (
        "Swahili stories",
        ("swahili/hadithi.txt", "swahili/maisha.txt"),
        Kind.MONOLINGUAL,
        (LANGUAGE,),
    ),
    (
        "English and Swahili sentences",
        ("swahili/parallel.tsv",),
        Kind.PARALLEL,
        (PROTECTED, LANGUAGE),
    ),
    (
        "Swahili questions and answers",
        ("swahili/instructions.jsonl",),
        Kind.INSTRUCTIONS,
        (LANGUAGE,),
    ),
)
PROTECT = (
    "English stories",
    ("english/stories.txt",),
    Kind.MONOLINGUAL,
    (PROTECTED,),
)


def launch_example(*, workspace: Workspace, user: User | None) -> Job:
    """Make datasets, base and target of the example and launch its job.

    What the workspace has of it already is used again, a job that has not ended too.
    """
    base = register_folder(
        workspace=workspace, path=settings.SAMPLES / "base-en", name="base-en"
    )
    known = LanguageTarget.objects.filter(
        workspace=workspace, language=LANGUAGE, base=base, deleted_at=None
    ).first()
    alive = known.jobs.filter(state__in=ALIVE).first() if known else None
    if alive:
        return alive
    target = known or create_target(
        workspace=workspace,
        language=LANGUAGE,
        base=base,
        datasets=[_dataset(workspace, user, *entry) for entry in FILES],
        protected=[_dataset(workspace, user, *PROTECT)],
        protected_language=PROTECTED,
    )
    return launch_job(target=target, user=user, answers=Answers(minutes=MINUTES))


def _dataset(
    workspace: Workspace,
    user: User | None,
    name: str,
    files: tuple[str, ...],
    kind: str,
    languages: tuple[str, ...],
) -> Dataset:
    known = Dataset.objects.filter(
        workspace=workspace, name=name, kind=kind, deleted_at=None
    ).first()
    if known:
        return known
    paths = [settings.SAMPLES / file for file in files]
    for path in paths:
        if not path.is_file():
            raise Refusal(
                _("The example is not complete: samples/%(file)s is missing.")
                % {"file": path.relative_to(settings.SAMPLES)}
            )
    return add_files(
        workspace=workspace,
        user=user,
        paths=paths,
        kind=kind,
        languages=list(languages),
        name=name,
    )
